import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { Person } from '../support/person/person.ts';
import { makePolicy, register, send, REDIRECT } from '../support/client/registration.ts';

const SAYS = /In the application, remove the connection to this service and add it again/;

describe('the page for an application whose registration has ended', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
  });
  after(() => gatehouse.stop());

  const open = async (clientId: string, person = new Person(gatehouse)) => {
    const query = authorizationRequest({ client_id: clientId }, { redirect_uri: REDIRECT });
    return person.open(`${gatehouse.url}/authorize?${query}`, { headers: { accept: 'text/html' } });
  };

  it('says what the person can do, wherever the application is missed (FIELD-C3c)', async () => {
    const { body: client } = await register(gatehouse, { token_endpoint_auth_method: 'none' });
    const person = new Person(gatehouse);
    const login = await open(client.client_id, person);
    assert.equal(login.response.status, 200);
    const { status } = await send(
      'DELETE',
      client.registration_client_uri,
      undefined,
      client.registration_access_token,
    );
    assert.equal(status, 204);
    const during = await person.open(login.url);
    assert.equal(during.response.status, 400);
    assert.match(during.page, SAYS);
    const later = await open(client.client_id);
    assert.equal(later.response.status, 400);
    assert.match(later.page, SAYS);
    assert.match(later.page, /invalid_client/, 'and what to tell the people who run it');
  });

  it('is not shown for other faults of a request (FIELD-C3c)', async () => {
    const { body: client } = await register(gatehouse, { token_endpoint_auth_method: 'none' });
    const query = authorizationRequest(client, { redirect_uri: 'https://other.example/cb' });
    const faulty = await new Person(gatehouse).open(`${gatehouse.url}/authorize?${query}`, {
      headers: { accept: 'text/html' },
    });
    assert.equal(faulty.response.status, 400);
    assert.doesNotMatch(faulty.page, SAYS);
  });
});
