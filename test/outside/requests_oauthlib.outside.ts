import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { OutsideClients, SCOPE } from '../support/client/outside_clients.ts';
import { pythonApp, WITHOUT_PYTHON } from '../support/network/outside_builds.ts';

describe('requests-oauthlib', { skip: WITHOUT_PYTHON }, () => {
  let clients: OutsideClients;
  let command: readonly string[];
  before(async () => {
    command = await pythonApp('requests_oauthlib_app.py');
    clients = await OutsideClients.start();
  });
  after(() => clients.stop());

  it('gets exactly the scopes that it asked for, and reads userinfo with the token for an API (FIELD-C1)', async () => {
    clients.expectBoth(await clients.logIn(command));
  });

  it('may send its scopes with a space at the end (FIELD-C10)', async () => {
    clients.expectBoth(await clients.logIn(command, { environment: { SCOPE: `${SCOPE} ` } }));
  });

  // It expects a scope without a name among those of the answer, unless OAUTHLIB_RELAX_TOKEN_SCOPE is set.
  it('refuses the right answer for scopes with two spaces, unless it is told to relax (FIELD-C10)', async () => {
    const environment = { SCOPE: SCOPE.replace(' ', '  ') };
    assert.partialDeepStrictEqual(await clients.logIn(command, { environment }), { error: 'scope_changed' });
    const relaxed = { ...environment, OAUTHLIB_RELAX_TOKEN_SCOPE: '1' };
    clients.expectBoth(await clients.logIn(command, { environment: relaxed }));
  });
});
