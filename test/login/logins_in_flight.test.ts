import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { registerApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const ROUNDS = 6;
const THIEVES = 3;

describe('a login that is under way', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  const start = (): string => `${gatehouse.url}/authorize?${authorizationRequest(client)}`;

  it('opens nothing once the password was changed (FIELD-A1)', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const account = { email: `owner${round}@example.com`, password: `the old password of ${round}` };
      const made = await admin.post('/accounts', { email: account.email, password: account.password });
      assert.equal(made.status, 201, made.text);
      const accountId = made.body['account_id'];
      const thieves = Array.from({ length: THIEVES }, () => new Person(gatehouse, { account }));
      const pages = await Promise.all(thieves.map((thief) => thief.open(start())));
      const logins = thieves.map((thief, index) => thief.finish(pages[index]!));
      const changed = await admin.patch(`/accounts/${accountId}`, { password: `a new password, number ${round}` });
      assert.equal(changed.status, 200, changed.text);
      await Promise.allSettled(logins);
      for (const kind of ['Session', 'AuthorizationCode'] as const) {
        const left = await gatehouse.database
          .selectFrom('artifacts')
          .select('kind')
          .where('kind', '=', kind)
          .where('account_id', '=', accountId)
          .execute();
        assert.deepEqual(left, [], `round ${round}`);
      }
    }
  });

  it('continues once, however often the browser is sent on (FIELD-A1)', async () => {
    const person = new Person(gatehouse);
    const login = await person.open(start());
    const consent = await person.submit(`${login.url}/login`, gatehouse.account);
    const allowed = await person.fetch(`${consent.url}/consent`, {
      method: 'POST',
      body: new URLSearchParams({ decision: 'allow' }),
    });
    const onwards = new URL(allowed.headers.get('location')!, gatehouse.url);
    const answers = await Promise.all(Array.from({ length: 4 }, () => person.fetch(onwards)));
    const codes = answers.filter((answer) => /[?&]code=/.test(answer.headers.get('location') ?? ''));
    assert.equal(codes.length, 1);
    for (const answer of answers) assert.ok([303, 400].includes(answer.status), await answer.text());
  });
});
