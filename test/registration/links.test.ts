import assert from 'node:assert/strict';
import { after, afterEach, describe, it } from 'node:test';
import { sql } from 'kysely';
import { REDIRECT_URI, registerApplication, requestCode } from '../support/client/code_flow.ts';
import { makePolicy, register } from '../support/client/registration.ts';
import { startGatehouse } from '../support/node/gatehouse.ts';
import { registerClient } from '../support/node/operator.ts';
import { closeOutside, NAME, PRIVATE, startOutside } from '../support/network/outside_server.ts';
import { Person } from '../support/person/person.ts';

describe('the links that a client registers for people', () => {
  const started: { stop(): Promise<void> }[] = [];
  after(() => Promise.all(started.map((gatehouse) => gatehouse.stop())));
  afterEach(closeOutside);

  it('are shown and never fetched, not even where the operator would allow it (CVE-2021-26715)', async () => {
    const outside = await startOutside((_, response) => response.end(), { address: PRIVATE });
    const origin = `https://${NAME}:${outside.port}`;
    const gatehouse = await startGatehouse({
      environment: { GATEHOUSE_EGRESS_ALLOW: origin },
      resolve: async () => [{ address: PRIVATE, family: 4 }],
    });
    started.push(gatehouse);
    const links = Object.fromEntries(
      ['client_uri', 'policy_uri', 'tos_uri'].map((name) => [name, `${origin}/${name}`]),
    );
    const application = await registerApplication(gatehouse, { ...links, redirect_uris: [REDIRECT_URI] });
    const person = new Person(gatehouse);
    const { code } = await requestCode(gatehouse, application, { person, scope: 'openid notes:read' });
    assert.notEqual(code, '');
    const { page } = await person.open(`${gatehouse.issuer}/account`);
    assert.equal(page.length > 0, true);
    assert.equal(outside.connections(), 0);
  });

  it('have no logo among them: what a client registers itself with may name one, which is ignored (FIELD-C14d)', async () => {
    const outside = await startOutside((_, response) => response.end(), { address: PRIVATE });
    const logo_uri = `https://${NAME}:${outside.port}/logo.png`;
    const gatehouse = await startGatehouse({
      environment: { GATEHOUSE_EGRESS_ALLOW: new URL(logo_uri).origin },
      resolve: async () => [{ address: PRIVATE, family: 4 }],
    });
    started.push(gatehouse);
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    for (const logo of [logo_uri, 'javascript:alert(1)', 7]) {
      const { status, body } = await register(gatehouse, { client_name: 'With a logo', logo_uri: logo });
      assert.equal(status, 201, JSON.stringify(body));
      assert.equal('logo_uri' in body, false);
      const stored = await gatehouse.adminCall('GET', `/clients/${body.client_id}`);
      assert.equal('logo_uri' in ((await stored.json()) as object), false);
    }
    assert.equal(outside.connections(), 0);
  });

  it('have no logo among them: an admin is told that there is none (FIELD-C14d)', async () => {
    const gatehouse = await startGatehouse();
    started.push(gatehouse);
    const logo_uri = 'https://app.example.com/logo.png';
    const metadata = { client_name: 'With a logo', grant_types: ['client_credentials'] };
    const refused = await gatehouse.adminCall('POST', '/clients', { ...metadata, logo_uri });
    assert.equal(refused.status, 400);
    assert.deepEqual(((await refused.json()) as { errors: unknown[] }).errors, [
      {
        pointer: '/logo_uri',
        detail: 'is not supported: the pages of this server load no pictures from other hosts',
      },
    ]);
    const client = await registerClient(gatehouse, metadata);
    const path = `/clients/${client.client_id}`;
    assert.equal((await gatehouse.adminCall('PATCH', path, { logo_uri })).status, 400);
    // as an earlier version stored it
    await gatehouse.database
      .updateTable('clients')
      .set({ metadata: sql`metadata || ${JSON.stringify({ logo_uri })}::jsonb` })
      .where('client_id', '=', client.client_id)
      .execute();
    const changed = await gatehouse.adminCall('PATCH', path, { client_name: 'Without' });
    assert.equal(changed.status, 200);
    const shown = (await changed.json()) as Record<string, unknown>;
    assert.deepEqual([shown['client_name'], 'logo_uri' in shown], ['Without', false]);
    assert.equal((await gatehouse.adminCall('PATCH', path, { logo_uri: null })).status, 200);
  });
});
