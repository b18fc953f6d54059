/** go-oidc, the client of Kubernetes, Argo CD and Vault, with x/oauth2. */
import { after, before, describe, it } from 'node:test';
import { OutsideClients, SCOPE } from '../support/client/outside_clients.ts';
import { goProgram, WITHOUT_GO } from '../support/network/outside_builds.ts';

/** Up to 3.19 it refused a JWKS as a whole for a key of a type that it did not know. */
const VERSIONS = { 'go-oidc 3.21': 'go.mod', 'go-oidc 3.19': 'earlier.mod' };

for (const [version, modFile] of Object.entries(VERSIONS)) {
  describe(version, { skip: WITHOUT_GO }, () => {
    let clients: OutsideClients;
    let program: string;
    before(async () => {
      program = await goProgram('go_oidc', { modFile });
      clients = await OutsideClients.start();
    });
    after(() => clients.stop());

    it('logs a person in beside an API with ML-DSA, and reads userinfo with the token for an API (FIELD-C1, FIELD-C4)', async () => {
      clients.expectBoth(await clients.logIn([program]));
    });

    it('may join its scopes with two spaces (FIELD-C10)', async () => {
      clients.expectBoth(await clients.logIn([program], { environment: { SCOPE: SCOPE.replace(' ', '  ') } }));
    });

    it('authenticates by Basic with a secret that has special characters, form-encoded (RFC 6749, 2.3.1)', async () => {
      const secret = 'a:b%2B+c/d=e&f g~h!"\\'.padEnd(40, '0');
      clients.expectBoth(await clients.logIn([program], { secret }));
    });
  });
}
