import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { basic, registerApplication, signIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

const FORM = 'application/x-www-form-urlencoded';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

describe('the token endpoint says what is wrong in the words of RFC 6749 (5.2)', () => {
  let gatehouse: Gatehouse;
  let application: RegisteredClient;
  let resourceServer: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    application = await registerApplication(gatehouse, {
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    });
    resourceServer = await registerClient(gatehouse, { resources: [], introspects: [gatehouse.demo.resource] });
  });
  after(() => gatehouse.stop());

  const ask = async (body: string, who = application, type = FORM) => {
    const headers = { authorization: basic(who.client_id, who.client_secret), 'content-type': type };
    const response = await fetch(`${gatehouse.url}/token`, { method: 'POST', headers, body });
    const text = await response.text();
    // for each error: no cache may store it, and its text reveals no internals
    assert.equal(response.headers.get('cache-control'), 'no-store');
    assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
    assert.doesNotMatch(text, /at .*\(|node_modules|\/home\/|\/src\/|postgres|access_token"/i);
    return { status: response.status, error: (JSON.parse(text) as { error: string }).error };
  };
  const refused = (error: string) => ({ status: 400, error });

  it('to a password, which no client can trade for a token (TOK-G02)', async () => {
    const { email, password } = gatehouse.account;
    const form = new URLSearchParams({ grant_type: 'password', username: email, password });
    assert.deepEqual(await ask(form.toString()), refused('unsupported_grant_type'));
  });

  it('to a token exchange that the client is not registered for (TOK-G04)', async () => {
    const { tokens } = await signIn(gatehouse, application);
    const form = { grant_type: TOKEN_EXCHANGE, subject_token: tokens.access_token, subject_token_type: ACCESS_TOKEN };
    const { status, error } = await ask(new URLSearchParams(form).toString());
    assert.equal(status, 400);
    assert.match(error, /^(unsupported_grant_type|unauthorized_client)$/);
  });

  it('to a grant that the client was not registered for (TOK-G06)', async () => {
    const device = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      device_code: 'x',
    }).toString();
    for (const form of [device, 'grant_type=authorization_code&code=x&redirect_uri=https://x.example&code_verifier=x'])
      assert.deepEqual(await ask(form, resourceServer), refused('unauthorized_client'));
  });

  it('to a parameter that comes twice (TOK-G08)', async () => {
    for (const twice of [
      'grant_type=client_credentials&grant_type=refresh_token',
      'grant_type=client_credentials&grant_type=client_credentials',
      'grant_type=client_credentials&scope=notes:read&scope=notes:read',
    ]) {
      assert.deepEqual(await ask(twice), refused('invalid_request'), twice);
    }
  });

  it('to JSON (TOK-G10)', async () => {
    const json = JSON.stringify({ grant_type: 'client_credentials' });
    assert.deepEqual(await ask(json, application, 'application/json'), refused('invalid_request'));
  });

  it('to a grant type that there is not (TOK-G14)', async () => {
    assert.deepEqual(await ask('grant_type=urn:evil'), refused('unsupported_grant_type'));
  });

  it('and to GET only that it is not there (TOK-G12)', async () => {
    const response = await fetch(`${gatehouse.url}/token?grant_type=client_credentials`, {
      headers: { authorization: basic(application.client_id, application.client_secret) },
    });
    assert.equal([404, 405].includes(response.status), true);
    assert.equal((await response.text()).includes('access_token'), false);
  });
});
