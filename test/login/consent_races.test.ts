import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql, type RawBuilder } from 'kysely';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { ask, openPage, pageOf, registerTill } from '../support/client/backchannel.ts';
import { registerApplication } from '../support/client/code_flow.ts';
import { fieldsOf } from '../support/person/device_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person, type Arrival } from '../support/person/person.ts';

/** What another node has just done, before this node has read the change. */
const ELSEWHERE: Readonly<Record<string, (client: RegisteredClient) => RawBuilder<unknown>>> = {
  'the application is revoked': ({ client_id }) =>
    sql`update clients set revoked_at = now(), revoked_reason = 'test' where client_id = ${client_id}`,
  'the account is disabled': () => sql`update accounts set disabled_at = now()`,
};

describe('a person who agrees in the moment in which', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  const isToldClearly = async (client: RegisteredClient, { response, page, url }: Arrival): Promise<void> => {
    assert.equal(response.status, 403, page);
    assert.ok(url.startsWith(gatehouse.issuer));
    assert.match(page, /may not be used any more/);
    const grants = await gatehouse.database
      .selectFrom('grants')
      .select('client_id')
      .where('client_id', '=', client.client_id)
      .execute();
    assert.deepEqual(grants, []);
    await sql`update accounts set disabled_at = null`.execute(gatehouse.database);
  };

  for (const [what, happens] of Object.entries(ELSEWHERE)) {
    it(`${what} is told so, and nothing is granted`, async () => {
      const client = await registerApplication(gatehouse);
      const person = new Person(gatehouse);
      const login = await person.open(`${gatehouse.url}/authorize?${authorizationRequest(client)}`);
      const consent = await person.submit(actionIn(login, 'login'), { ...gatehouse.account });
      await happens(client).execute(gatehouse.database);
      const arrival = await person.submit(actionIn(consent, 'consent'), { decision: 'allow', remember: 'on' });
      await isToldClearly(client, arrival);
    });

    it(`${what} gives nothing to an application that asked from elsewhere, either`, async () => {
      const till = await registerTill(gatehouse);
      const page = pageOf(gatehouse, await ask(gatehouse, till));
      const person = new Person(gatehouse);
      const shown = await openPage(page, person);
      await happens(till).execute(gatehouse.database);
      const arrival = await person.submit(page, { ...fieldsOf(shown.page), decision: 'approve' });
      assert.ok(arrival.response.status < 500, `status ${arrival.response.status}`);
      assert.doesNotMatch(arrival.page, /You have approved/);
      await sql`update accounts set disabled_at = null`.execute(gatehouse.database);
    });
  }
});

function actionIn({ page, url }: Arrival, step: 'login' | 'consent'): URL {
  const [, action] = new RegExp(`action="([^"]*/${step})"`).exec(page) ?? [];
  assert.ok(action, page);
  return new URL(action, url);
}
