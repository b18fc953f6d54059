import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { BusyPair, jtiOf } from '../support/node/busy_pair.ts';
import { redeem } from '../support/client/code_flow.ts';
import { postForm, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { CLI, NODE, Processes } from '../support/node/process.ts';
import { seededRandom } from '../support/random.ts';

/** `npm run test:faults` kills a hundred times; `npm test` a few. */
const KILLS = Number(process.env.FAULT_KILLS ?? 2);
/** How many of each kind are asked about by HTTP; the database is asked about all. */
const ASKED_ABOUT = 100;

describe(`two nodes under load, of which one or the other is killed ${KILLS} times`, () => {
  const random = seededRandom();
  let pair: Pair;
  let busy: BusyPair;
  before(async () => {
    pair = await startPair({
      GATEHOUSE_REFRESH_GRACE_SECONDS: '0',
      GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
      GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
      GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
      GATEHOUSE_AUDIT_CHECKPOINT_SECONDS: '5',
    });
    busy = await BusyPair.prepare(pair, random);
  });
  after(() => pair.stop());

  const both = (): Gatehouse[] => [pair.a, pair.b];
  const isActive = async (node: Gatehouse, token: string): Promise<boolean> => {
    const answer = await postForm(`${node.url}/introspect`, { token }, node.demo);
    assert.equal(answer.status, 200);
    return ((await answer.json()) as { active: boolean }).active;
  };
  const refresh = ({ url }: Gatehouse, refresh_token: string): Promise<Response> =>
    postForm(`${url}/token`, { grant_type: 'refresh_token', refresh_token }, busy.application);
  /** How often each value is named by an event. */
  const recorded = async (event: string, detail: string): Promise<Map<string, number>> => {
    const rows = await pair.a.database
      .selectFrom('audit_events')
      .select(['client_id', 'details'])
      .where('event', '=', event)
      .where('outcome', '=', 'success')
      .execute();
    const counted = new Map<string, number>();
    for (const { client_id, details } of rows) {
      const value = detail === 'client_id' ? client_id : (details as Record<string, string | undefined>)[detail];
      if (typeof value === 'string') counted.set(value, (counted.get(value) ?? 0) + 1);
    }
    return counted;
  };
  const isOnRecordOnce = async (event: string, detail: string, values: readonly string[]): Promise<void> => {
    const counted = await recorded(event, detail);
    const lost = values.filter((value) => !counted.has(value));
    const doubled = [...counted].filter(([, count]) => count > 1);
    assert.deepEqual({ event, lost, doubled }, { event, lost: [], doubled: [] });
  };

  it('requests to the other node are served as if nothing had happened', async (test) => {
    test.diagnostic(`FAULT_SEED=${random.seed}`);
    busy.begin();
    const meanwhile: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      await delay(random.between(50, 700));
      meanwhile.push(await busy.kill(random.pick(both())));
    }
    await delay(200);
    await busy.stop();
    const { ledger } = busy;
    test.diagnostic(
      `${KILLS} kills, ${ledger.unknown} requests cut off; acknowledged: ${ledger.issued.length} tokens, ` +
        `${ledger.rotations.length} rotations of a secret, ${ledger.revokedClients.length} clients and ${ledger.revokedTokens.length} tokens revoked, ` +
        `${ledger.usedCodes.length} codes, ${ledger.usedRefreshTokens.length} refresh tokens, ${ledger.endedFamilies.length} families ended; ` +
        `answers of the other node while one was down: ${Math.min(...meanwhile)} at least, ${meanwhile.reduce((sum, one) => sum + one, 0)} in all`,
    );
    assert.deepEqual(ledger.problems, []);
    assert.deepEqual(ledger.withheld, []);
    assert.ok(Math.min(...meanwhile) > 0);
  });

  it('every token that was given is on record once', () => isOnRecordOnce('token.issued', 'jti', busy.ledger.issued));

  it('every rotation of a secret was done once, and its secret is the one that counts until the next', async () => {
    const { rotations } = busy.ledger;
    await isOnRecordOnce(
      'secret.created',
      'secret_id',
      rotations.map(({ secretId }) => secretId),
    );
    for (const client of new Set(rotations.map((rotation) => rotation.client))) {
      const its = rotations.filter((rotation) => rotation.client === client);
      const rows = await pair.a.database
        .selectFrom('client_secrets')
        .select(['secret_id', 'ended_at', 'expires_at'])
        .where('client_id', '=', client.client_id)
        .execute();
      // and the one that it came with; ten of those that had ended before the last two are kept
      assert.equal(rows.length, Math.min(its.length + 1, 12));
      for (const { url } of both()) {
        const ask = (client_secret: string): Promise<Response> =>
          postForm(`${url}/token`, { grant_type: 'client_credentials' }, { ...client, client_secret });
        assert.equal((await ask(its.at(-1)!.secret)).status, 200);
        assert.equal((await ask(its.at(-2)?.secret ?? client.client_secret)).status, 401);
      }
    }
  });

  it('every client that was revoked is refused on both nodes, and what it had is dead', async () => {
    const { revokedClients } = busy.ledger;
    await isOnRecordOnce(
      'client.revoked',
      'client_id',
      revokedClients.map(({ client }) => client.client_id),
    );
    for (const { client, token } of random.some(revokedClients, ASKED_ABOUT)) {
      for (const node of both()) {
        const answer = await postForm(`${node.url}/token`, { grant_type: 'client_credentials' }, client);
        assert.equal(answer.status, 401);
        assert.equal(await isActive(node, token), false);
      }
    }
  });

  it('every token that was revoked is dead on both nodes', async () => {
    const { revokedTokens } = busy.ledger;
    await isOnRecordOnce('token.revoked', 'jti', revokedTokens.map(jtiOf));
    for (const token of random.some(revokedTokens, ASKED_ABOUT)) {
      for (const node of both()) assert.equal(await isActive(node, token), false);
    }
  });

  it('a refresh token that was left unused is good, unless its family was ended', async () => {
    for (const token of random.some([...busy.ledger.living.values()].flat(), ASKED_ABOUT)) {
      assert.equal((await refresh(random.pick(both()), token)).status, 200);
    }
    for (const token of random.some(busy.ledger.endedFamilies, ASKED_ABOUT)) {
      assert.equal((await refresh(random.pick(both()), token)).status, 400);
    }
  });

  it('no code and no refresh token that was used is good a second time', async () => {
    const { usedCodes, usedRefreshTokens } = busy.ledger;
    for (const used of random.some(usedCodes, ASKED_ABOUT)) {
      assert.equal((await redeem(random.pick(both()).url, busy.application, used)).status, 400);
    }
    for (const token of random.some(usedRefreshTokens, ASKED_ABOUT)) {
      assert.equal((await refresh(random.pick(both()), token)).status, 400);
    }
  });

  it('the audit trail is proven whole with the export and the key', async (test) => {
    const processes = new Processes();
    const folder = await mkdtemp(join(tmpdir(), 'gatehouse-'));
    test.after(async () => {
      await processes.end();
      await rm(folder, { recursive: true, force: true });
    });
    const environment = {
      DATABASE_URL: pair.a.databaseUrl,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_DATA_DIR: folder,
      ISSUER: pair.a.issuer,
    };
    for (const [name, ...words] of [
      ['export.ndjson', 'export'],
      ['keys.json', 'keys'],
    ] as const) {
      const { code, stdout, stderr } = await processes.run([NODE, CLI, 'audit', ...words], environment);
      assert.equal(code, 0, stderr);
      await writeFile(join(folder, name), stdout);
    }
    const files = [join(folder, 'export.ndjson'), '--key', join(folder, 'keys.json')];
    const { code, stdout } = await processes.run([NODE, CLI, 'audit', 'verify', ...files]);
    assert.equal(code, 0, stdout);
    test.diagnostic(stdout.split('\n')[0]!);
    const entries = Number(/^Proven: (\d+) entries/.exec(stdout)?.[1]);
    assert.ok(entries > busy.ledger.issued.length);
  });
});
