import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { sql } from 'kysely';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { registerApplication, requestCode } from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

describe('while the audit trail can not be written', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let application: RegisteredClient;
  let earlier = '';
  let person: Person;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerClient(gatehouse);
    application = await registerApplication(gatehouse);
    earlier = await requestToken(gatehouse.url, client);
    person = new Person(gatehouse);
    await requestCode(gatehouse, application, { person });
    await sql`alter table audit_events rename to audit_events_away`.execute(gatehouse.database);
  });
  after(() => gatehouse.stop());

  const ask = (form: Record<string, string> = {}, who: RegisteredClient = client) =>
    postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials', ...form }, who);

  const isWithheld = async (response: Response): Promise<string> => {
    const text = await response.text();
    assert.equal(response.status, 503, text);
    assert.equal(Number(response.headers.get('retry-after')) >= 1, true);
    assert.equal(response.headers.get('cache-control'), 'no-store');
    assert.doesNotMatch(text, /access_token|eyJ|code=/);
    return text;
  };

  it('no token is given', async () => {
    const text = await isWithheld(await ask());
    assert.equal((JSON.parse(text) as { error: string }).error, 'temporarily_unavailable');
  });

  it('no client is told that a secret is wrong: no guess goes unrecorded', async () => {
    await isWithheld(await ask({}, { ...client, client_secret: 'wrong' }));
  });

  it('no token is revoked', async () => {
    await isWithheld(await postForm(`${gatehouse.url}/revoke`, { token: earlier }, client));
    const { jti } = decodeJwt(earlier);
    const revoked = gatehouse.database.selectFrom('revoked_tokens').select('jti').where('jti', '=', jti!);
    assert.deepEqual(await revoked.execute(), []);
  });

  it('no code is given, and no session', async () => {
    const headers = { accept: 'text/html' };
    const url = `${gatehouse.url}/authorize?${authorizationRequest(application)}`;
    const response = await person.fetch(url, { headers });
    assert.equal(response.headers.get('location'), null);
    assert.deepEqual(response.headers.getSetCookie(), []);
    await isWithheld(response);
  });

  it('no person logs in', async () => {
    await assert.rejects(requestCode(gatehouse, application), /No callback: 503/);
  });

  it('no admin changes anything', async () => {
    const token = await requestToken(gatehouse.url, gatehouse.admin).catch((error: unknown) => error);
    assert.match(String(token), /No token: 503/);
  });
});
