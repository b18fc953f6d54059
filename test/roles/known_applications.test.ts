import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { Admin } from '../support/client/admin.ts';
import { redeem, requestCode } from '../support/client/code_flow.ts';
import { addTo, demoAccountId } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const DOCUMENT = readFileSync(new URL('../../docs/roles.md', import.meta.url), 'utf8');
const GROUPS = ['Developers', 'Platform'];

/** A section of docs/roles.md: the client to register, the claims that the application needs, and its settings. */
interface Section {
  readonly client: Readonly<Record<string, unknown>> & {
    readonly redirect_uris: readonly string[];
    readonly scope: string;
  };
  readonly claims: readonly string[];
  readonly settings: string;
}

function sectionOf(name: string): Section {
  const [, text = ''] = new RegExp(String.raw`^## ${name}\n(.*?)(?=^## )`, 'ms').exec(DOCUMENT) ?? [];
  const [, client = ''] = /-d '(\{.*?\})'\n/s.exec(text) ?? [];
  const [, sentence = ''] = /needs the claims (.*?)\./.exec(text) ?? [];
  const claims = [...sentence.matchAll(/`(\w+)`/g)].map(([, claim = '']) => claim);
  return { client: JSON.parse(client) as Section['client'], claims, settings: text };
}

/** Where each application names a claim in its settings; the claims must be those that the section says it needs. */
const NAMED_IN_SETTINGS: Readonly<Record<string, RegExp>> = {
  'Argo CD': /^scopes: ['"]\[(groups), (email)\]['"]$/m,
  Grafana: /^email_attribute_path = (\w+)\n.*^name_attribute_path = (\w+)\ngroups_attribute_path = (\w+)$/ms,
  Kubernetes: /username:\n +claim: (\w+)\n.*groups:\n +claim: (\w+)/s,
  Vault: /user_claim=(\w+).*groups_claim=(\w+).*claim_mappings=(\w+)=/s,
};

describe('the settings in docs/roles.md', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    const accountId = await demoAccountId(admin);
    await admin.patch(`/accounts/${accountId}`, { name: 'Ada Lovelace', email_verified: true });
    for (const name of GROUPS) {
      const { body } = await admin.post('/groups', { name });
      await addTo(admin, { groupId: String(body['group_id']) }, accountId);
    }
  });
  after(() => gatehouse.stop());

  for (const [name, named] of Object.entries(NAMED_IN_SETTINGS)) {
    it(`give ${name} the claims that its settings name, in the ID token and at userinfo`, async () => {
      const { client, claims, settings } = sectionOf(name);
      const [, ...inSettings] = named.exec(settings) ?? [];
      assert.ok(inSettings.length > 0, 'The settings name claims.');
      assert.deepEqual(
        inSettings.filter((claim) => !claims.includes(claim)),
        [],
      );

      const { status, body, text } = await admin.post('/clients', client);
      assert.equal(status, 201, text);
      const registered = { client_id: body.client_id, client_secret: body.client_secret ?? '' };
      for (const redirect_uri of client.redirect_uris) {
        const callback = await requestCode(gatehouse, registered, {
          scope: client.scope,
          parameters: { redirect_uri },
        });
        const answer = await redeem(gatehouse.url, registered, callback, { redirect_uri });
        const { id_token, access_token } = (await answer.json()) as { id_token: string; access_token: string };
        const userinfo = await fetch(`${gatehouse.url}/userinfo`, {
          headers: { authorization: `Bearer ${access_token}` },
        });
        const idToken: Readonly<Record<string, unknown>> = decodeJwt(id_token);
        const info = (await userinfo.json()) as Readonly<Record<string, unknown>>;
        for (const told of [idToken, info]) {
          assert.deepEqual(
            claims.filter((claim) => told[claim] === undefined),
            [],
            redirect_uri,
          );
          assert.deepEqual(told['groups'], GROUPS);
          if (claims.includes('email_verified')) assert.equal(told['email_verified'], true);
        }
      }
    });
  }

  it('name groups that the claim contains', () => {
    assert.match(sectionOf('Argo CD').settings, /^ {2}g, Platform, role:admin$/m);
    const named = sectionOf('Grafana').settings.matchAll(/contains\(groups\[\*\], '(\w+)'\)/g);
    assert.deepEqual(new Set(Array.from(named, ([, group]) => group)), new Set(GROUPS));
    assert.match(sectionOf('Kubernetes').settings, /--group=gatehouse:Platform/);
  });

  it('say rightly that a scope ‘groups’ is refused', async () => {
    const { client } = sectionOf('Argo CD');
    const { body } = await admin.post('/clients', client);
    const { callback } = await requestCode(
      gatehouse,
      { client_id: body.client_id, client_secret: '' },
      { scope: 'openid groups', parameters: { redirect_uri: client.redirect_uris[0]! } },
    );
    assert.equal(callback.searchParams.get('error'), 'invalid_scope');
  });
});
