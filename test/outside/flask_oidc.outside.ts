import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { OutsideClients, SCOPE, type Got } from '../support/client/outside_clients.ts';
import { pythonApp, WITHOUT_PYTHON } from '../support/network/outside_builds.ts';

/** Browsers drop larger cookies (RFC 6265, 6.1), and Flask-OIDC keeps the tokens in one. */
const COOKIE_BYTES_AT_MOST = 4_096;

describe('Flask-OIDC', { skip: WITHOUT_PYTHON }, () => {
  let clients: OutsideClients;
  let command: readonly string[];
  before(async () => {
    command = await pythonApp('flask_oidc_app.py');
    clients = await OutsideClients.start();
  });
  after(() => clients.stop());

  /** It sends its secret in the body, and no PKCE. */
  const options = {
    callback: '/authorize',
    metadata: {
      token_endpoint_auth_method: 'client_secret_post',
      pkce_exemption: { reason: 'Flask-OIDC 2.4 does not send a challenge' },
    },
  };

  it('logs a person in beside an API with ML-DSA, and reads userinfo with the token for an API (FIELD-C1, FIELD-C4)', async () => {
    const { text, person } = await clients.open(await clients.run(command, options));
    clients.expectBoth(JSON.parse(text) as Got[]);
    const sessions = person.cookieHeaders.filter((cookie) => cookie.startsWith('session='));
    assert.deepEqual(
      sessions.filter(({ length }) => length > COOKIE_BYTES_AT_MOST),
      [],
    );
  });

  it('refreshes a token that is near its end, and reads userinfo with the new one (FIELD-C1)', async () => {
    const { demo, adminCall } = clients.gatehouse;
    const path = `/resources/${encodeURIComponent(demo.resource)}`;
    const { status } = await adminCall('PATCH', path, { access_token_ttl_seconds: 30 });
    assert.equal(status, 200);
    const application = await clients.run(command, options);
    const first = await clients.open(application);
    const second = await clients.open(application, '/userinfo', first.person);
    const tokens = [first, second].flatMap(({ text }) => JSON.parse(text) as Got[]);
    clients.expectBoth(tokens);
    assert.notEqual(tokens[0]!.access_token, tokens[1]!.access_token);
  });

  it('may send its scopes with two spaces (FIELD-C10)', async () => {
    const environment = { SCOPE: SCOPE.replace(' ', '  ') };
    clients.expectBoth(await clients.logIn(command, { ...options, environment }));
  });
});
