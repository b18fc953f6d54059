import assert from 'node:assert/strict';
import { after, afterEach, describe, it } from 'node:test';
import { REDIRECT_URI, registerApplication, requestCode } from '../support/client/code_flow.ts';
import { startGatehouse } from '../support/node/gatehouse.ts';
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
      ['client_uri', 'logo_uri', 'policy_uri', 'tos_uri'].map((name) => [name, `${origin}/${name}`]),
    );
    const application = await registerApplication(gatehouse, { ...links, redirect_uris: [REDIRECT_URI] });
    const person = new Person(gatehouse);
    const { code } = await requestCode(gatehouse, application, { person, scope: 'openid notes:read' });
    assert.notEqual(code, '');
    const { page } = await person.open(`${gatehouse.issuer}/account`);
    assert.equal(page.length > 0, true);
    assert.equal(outside.connections(), 0);
  });
});
