import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { registerApplication } from '../support/client/code_flow.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { newAccount } from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

describe('the time of a login', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const loginOf = async (accountId: string): Promise<unknown> => {
    const { rows } = await sql<{ login: unknown }>`select jsonb_build_object('at', payload->'loginTs',
        'amr', payload->'amr', 'acr', payload->'acr') as login
      from artifacts where kind = 'Session' and account_id = ${accountId}`.execute(gatehouse.database);
    return rows.map(({ login }) => login);
  };

  it('stays that of the password if the person allows the application later', async () => {
    const client = await registerApplication(gatehouse);
    const account = await newAccount(gatehouse);
    const person = new Person(gatehouse, { account });
    const opened = await person.open(`${gatehouse.issuer}/authorize?${authorizationRequest(client)}`);
    const { email, password } = account;
    const consent = await person.submit(`${opened.url}/login`, { email, password });
    assert.match(consent.page, /\/consent"/);
    const atLogin = await loginOf(account.accountId);
    moveClock(700);
    const { url } = await person.submit(`${consent.url}/consent`, { decision: 'allow' });
    assert.ok(new URL(url).searchParams.has('code'), url);
    assert.deepEqual(await loginOf(account.accountId), atLogin);
    // the pages of credentials need a login of the last ten minutes
    const { page } = await person.open(`${gatehouse.issuer}/account/password`);
    assert.match(page, /\/interaction\/[\w-]+\/login"/);
  });
});
