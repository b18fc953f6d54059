import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { REDIRECT_URI, registerApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

describe('an error page of a development server', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  async function refused(parameters: Readonly<Record<string, string>>): Promise<string> {
    const url = `${gatehouse.issuer}/authorize?${authorizationRequest(client, parameters)}`;
    const { page, response } = await new Person(gatehouse).open(url);
    assert.equal(response.status, 400);
    return page;
  }

  it('shows the redirect URI that was sent beside those that are registered', async () => {
    const page = await refused({ redirect_uri: `${REDIRECT_URI}/` });
    const text = page.replaceAll(/<[^>]*>|\s+/g, ' ').replaceAll(/ +/g, ' ');
    assert.ok(text.includes(`redirect_uri Sent ${REDIRECT_URI}/ Registered ${REDIRECT_URI} `), text);
  });

  it('shows nothing that may be secret', async () => {
    const secrets = {
      state: 'secret-state',
      nonce: 'secret-nonce',
      login_hint: 'secret-hint',
      id_token_hint: 'secret',
    };
    const page = await refused({ ...secrets, redirect_uri: 'https://evil.example/' });
    assert.doesNotMatch(page, /secret/);
    assert.equal(page.includes(client.client_secret), false);
  });

  it('shows the client id that nobody has', async () => {
    const page = await refused({ client_id: 'no-such-client' });
    assert.match(page, /<code class="exact">no-such-client<\/code>/);
  });
});
