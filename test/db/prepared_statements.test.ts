import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

/** Each connection may have any of them prepared: so many of each see to it that all that are in use have. */
const AT_ONCE = 20;

describe('statements that connections have prepared', () => {
  let gatehouse: Gatehouse;
  let application: RegisteredClient;
  let refreshTokens: string[] = [];
  before(async () => {
    gatehouse = await startGatehouse();
    application = await registerApplication(gatehouse);
    const person = new Person(gatehouse);
    while (refreshTokens.length < AT_ONCE) {
      const { tokens } = await signIn(gatehouse, application, {
        scope: 'openid notes:read',
        parameters: { resource: gatehouse.demo.resource },
        person,
      });
      refreshTokens.push(tokens.refresh_token!);
    }
  });
  after(() => gatehouse.stop());

  const askForEverything = async (): Promise<void> => {
    const [refreshed] = await Promise.all([
      Promise.all(
        refreshTokens.map((token) =>
          postForm(`${gatehouse.url}/token`, { grant_type: 'refresh_token', refresh_token: token }, application),
        ),
      ),
      ...refreshTokens.map(() => requestToken(gatehouse.url, gatehouse.demo)),
    ]);
    refreshTokens = await Promise.all(
      refreshed.map(async (response) => {
        const body = (await response.json()) as Record<string, string>;
        assert.equal(response.status, 200, JSON.stringify(body));
        return body['refresh_token']!;
      }),
    );
  };

  it('are so many as the token path asks', async () => {
    await askForEverything();
    const ofEach = await Promise.all(
      Array.from({ length: AT_ONCE }, () =>
        sql<{ name: string }>`select name from pg_prepared_statements, pg_sleep(0.05)`.execute(gatehouse.database),
      ),
    );
    const prepared = new Set(ofEach.flatMap(({ rows }) => rows.map(({ name }) => name)));
    for (const name of ['read_token', 'use_up_token_for_successor', 'insert_audit_batch']) {
      assert.ok(prepared.has(`gatehouse_${name}`), `${name} is not among ${[...prepared].join(', ')}`);
    }
  });

  it('still run when a later version changes what a column is', async () => {
    await askForEverything();
    await sql`alter table accounts alter column name type varchar(500)`.execute(gatehouse.database);
    await askForEverything();
    await askForEverything();
  });

  for (const table of ['accounts', 'artifacts', 'grants', 'audit_events', 'audit_links']) {
    it(`still run when a later version adds a column to ${table}`, async () => {
      await askForEverything();
      await sql`alter table ${sql.table(table)} add column later text`.execute(gatehouse.database);
      await askForEverything();
    });
  }

  it('still run when a table was analyzed, and when its index was built anew', async () => {
    await askForEverything();
    await sql`analyze artifacts`.execute(gatehouse.database);
    await sql`reindex table artifacts`.execute(gatehouse.database);
    await askForEverything();
  });
});
