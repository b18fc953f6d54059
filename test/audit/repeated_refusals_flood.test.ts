import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { AuditedServer } from '../support/node/audited_server.ts';
import type { Server } from '../support/node/process.ts';
import { Connection } from '../support/node/workers.ts';

/** Of each kind; `FAULT_REFUSALS` makes it a flood. */
const OF_EACH = Number(process.env['FAULT_REFUSALS'] ?? 100);
const CONNECTIONS = 8;
const OWN_ENTRIES = 5;

interface Row {
  readonly request_id: string;
  readonly details: {
    readonly repeated?: {
      readonly count: number;
      readonly first_request_id: string;
      readonly last_request_id: string;
      readonly network: string;
    };
  };
}

const BEARER = { authorization: 'Bearer junk' };
const AUTHORIZATION = '/authorize?client_id=unknown&response_type=code&redirect_uri=https%3A%2F%2Fa.example%2F';

/** What a sender without any right can have refused, by the event that is on record about it. */
const FLOODS: readonly (readonly [
  event: string,
  ask: (at: Connection) => Promise<{ requestId: string; status: number }>,
])[] = [
  ['authorization.refused', (at) => at.ask('GET', AUTHORIZATION)],
  ['userinfo.refused', (at) => at.ask('GET', '/userinfo', BEARER)],
  ['admin_call.refused', (at) => at.ask('GET', '/admin/v1/clients', BEARER)],
  ['logout.refused', (at) => at.ask('GET', '/logout?id_token_hint=junk')],
];

describe('a flood of refusals from one address', () => {
  let audited: AuditedServer;
  let server: Server;
  let pool: pg.Pool;
  before(async () => {
    audited = await AuditedServer.prepare({
      GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
      GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
    });
    server = await audited.start();
    pool = new pg.Pool({ connectionString: audited.databaseUrl, max: 2 });
  });
  after(async () => {
    await pool.end();
    await audited.end();
  });

  const rowsOf = async (event: string): Promise<Row[]> =>
    (
      await pool.query<Row>('select request_id, details from audit_events where event = $1 order by occurred_at', [
        event,
      ])
    ).rows;

  it('leaves five entries and one that counts the others, which evidence proves (FIELD-B6)', async (t) => {
    const connections = Array.from({ length: CONNECTIONS }, () => new Connection(server.url));
    const answered = new Map<string, string[]>();
    for (const [event, ask] of FLOODS) {
      const ids: string[] = [];
      answered.set(event, ids);
      await Promise.all(
        connections.map(async (connection) => {
          while (ids.length < OF_EACH) {
            const place = ids.push('') - 1;
            const { status, requestId } = await ask(connection);
            assert.ok(status >= 400 && status < 500, `${event}: ${status}`);
            ids[place] = requestId;
          }
        }),
      );
    }
    for (const connection of connections) connection.close();
    for (const event of answered.keys()) assert.equal((await rowsOf(event)).length, OWN_ENTRIES, event);

    server.signal('SIGTERM');
    assert.equal((await server.ended()).code, 0);
    for (const [event, ids] of answered) {
      const rows = await rowsOf(event);
      assert.equal(rows.length, OWN_ENTRIES + 1, event);
      const own = new Set(rows.slice(0, OWN_ENTRIES).map(({ request_id }) => request_id));
      const { repeated } = rows.at(-1)!.details;
      assert.equal(repeated?.count, ids.length - OWN_ENTRIES, event);
      assert.equal(repeated.network, '127.0.0.1');
      // the requests came at once, so any of them can be the first and the last
      for (const id of [repeated.first_request_id, repeated.last_request_id]) {
        assert.ok(ids.includes(id) && !own.has(id), event);
      }
    }
    const size = await pool.query<{ rows: number; bytes: number }>(
      `select count(*)::int as rows, sum(pg_column_size(e.*))::int as bytes from audit_events e where event like '%refused'`,
    );
    t.diagnostic(`${FLOODS.length * OF_EACH} refusals: ${JSON.stringify(size.rows[0])}`);

    const run = async (...words: string[]): Promise<string> => {
      const { code, stdout, stderr } = await audited.audit(...words);
      assert.equal(code, 0, stdout + stderr);
      return stdout;
    };
    const [keys, trail] = [audited.path('keys.json'), audited.path('trail.ndjson')];
    await writeFile(keys, await run('keys'));
    await writeFile(trail, await run('export'));
    assert.match(await run('verify', trail, '--key', keys), /^Proven: \d+ entries/);
  });
});
