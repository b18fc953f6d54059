/** Authlib's client for Flask, as it is now and as it was with a reader of key sets of its own. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { OutsideClients, SCOPE } from '../support/client/outside_clients.ts';
import { pythonApp, WITHOUT_PYTHON } from '../support/network/outside_builds.ts';

const VERSIONS = { 'Authlib 1.9': 'requirements.txt', 'Authlib 1.6': 'earlier.txt' };

for (const [version, requirements] of Object.entries(VERSIONS)) {
  describe(version, { skip: WITHOUT_PYTHON }, () => {
    let clients: OutsideClients;
    let command: readonly string[];
    before(async () => {
      command = await pythonApp('authlib_app.py', requirements);
      clients = await OutsideClients.start();
    });
    after(() => clients.stop());

    it('logs a person in beside an API with ML-DSA, and reads userinfo with the token for an API (FIELD-C1, FIELD-C4)', async () => {
      clients.expectBoth(await clients.logIn(command));
    });

    it('may send its scopes with two spaces and one at the end (FIELD-C10)', async () => {
      const environment = { SCOPE: `${SCOPE.replace(' ', '  ')} ` };
      clients.expectBoth(await clients.logIn(command, { environment }));
    });

    // By Basic it does not form-encode the secret as RFC 6749 (2.3.1) demands, so the server reads + and % otherwise.
    it('sends a secret with special characters by POST, and by Basic if it has no + and no %', async () => {
      const logIn = async (method: string, secret: string) => {
        const metadata = { token_endpoint_auth_method: method };
        const environment = { AUTH_METHOD: method };
        return clients.logIn(command, { metadata, environment, secret: secret.padEnd(40, '0') });
      };
      clients.expectBoth(await logIn('client_secret_post', 'a:b%2B+c/d=e&f g~h!"\\'));
      clients.expectBoth(await logIn('client_secret_basic', 'a:b/d=e&f g~h!"\\'));
      assert.partialDeepStrictEqual(await logIn('client_secret_basic', 'a+b'), { error: 'invalid_client' });
      assert.partialDeepStrictEqual(await logIn('client_secret_basic', 'a%b'), { error: 'invalid_request' });
    });

    describe('with private_key_jwt, whose assertions name the token endpoint', () => {
      const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), alg: 'RS256' }] };
      const environment = {
        AUTH_METHOD: 'private_key_jwt',
        CLIENT_SECRET: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      };
      const metadata = { token_endpoint_auth_method: 'private_key_jwt', jwks };

      it('logs a person in if an admin has set assertion_audience to endpoints (FIELD-C2)', async () => {
        const eased = { ...metadata, assertion_audience: 'endpoints' };
        clients.expectBoth(await clients.logIn(command, { metadata: eased, environment }));
      });

      it('is refused by default, and told what was wrong (FIELD-C2)', async () => {
        const { text } = await clients.open(await clients.run(command, { metadata, environment }));
        const { error, error_description } = JSON.parse(text) as Readonly<Record<string, string>>;
        assert.equal(error, 'invalid_client');
        assert.match(
          error_description ?? '',
          /aud must be the issuer, not an endpoint; send http.*, or ask an admin to set assertion_audience to endpoints/,
        );
      });
    });
  });
}
