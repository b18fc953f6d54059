import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { makeIssuer, trust, type OutsideIssuer } from '../support/network/outside_issuer.ts';
import {
  claimsOf,
  introspect,
  JWT_BEARER,
  makePolicy,
  present,
  type TokenAnswer,
} from '../support/client/exchanged_tokens.ts';

const resource = 'https://reports.example.com';

describe('the subject of an assertion', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  let issuer: OutsideIssuer;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    await registerResource(gatehouse, 'reports');
    issuer = await makeIssuer(gatehouse.issuer);
    await trust(admin, issuer);
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  const clientFor = async (members: Readonly<Record<string, unknown>>): Promise<RegisteredClient> => {
    const client = await registerClient(gatehouse, { grant_types: [JWT_BEARER], resources: [] });
    const policy = { client_id: client.client_id, issuer: issuer.issuer, resource, scopes: ['reports:read'] };
    await makePolicy(admin, 'assertion-policies', { ...policy, ...members });
    return client;
  };
  const account = async (email: string, email_verified = true): Promise<string> => {
    const { status, text, body } = await admin.post('/accounts', { email, email_verified });
    assert.equal(status, 201, text);
    return body.account_id;
  };
  const refuses = ({ status, body }: TokenAnswer, words: RegExp): void => {
    assert.deepEqual([status, body.error], [400, 'invalid_grant'], JSON.stringify(body));
    assert.match(String(body.error_description), words);
  };

  describe('is the account of its verified address', () => {
    let client: RegisteredClient;
    let ada: string;
    before(async () => {
      client = await clientFor({ subject_account: 'verified_email', email_domains: ['partner.example'] });
      ada = await account('ada@partner.example');
    });
    const presentAs = async (claims: Readonly<Record<string, unknown>>, node = gatehouse): Promise<TokenAnswer> =>
      present(node, client, await issuer.assert({ claims }));

    it('in upper and lower case', async () => {
      const claims = claimsOf(await presentAs({ email: 'Ada@Partner.example', email_verified: true }));
      assert.equal(claims['sub'], ada);
      assert.equal('sub_id' in claims, false);
    });

    it('in one grant for each token, which ends alone or with its token (FIELD-C3c)', async () => {
      const ask = async (node: Gatehouse) =>
        (await presentAs({ email: 'ada@partner.example', email_verified: true }, node)).body.access_token;
      const tokens = [await ask(gatehouse), await ask(second)];
      const [first, other] = tokens.map((access_token) => claimsOf({ status: 200, body: { access_token } }));
      const lives = () => Promise.all(tokens.map(async (token) => (await introspect(second, client, token))['active']));
      assert.notEqual(first!['gid'], other!['gid']);
      const grants = () =>
        gatehouse.database
          .selectFrom('grants')
          .select('expires_at')
          .where('client_id', '=', client.client_id)
          .execute();
      const lastExpiry = Math.max(...(await grants()).map(({ expires_at }) => expires_at.getTime()));
      const expiry = Math.max(Number(first!['exp']), Number(other!['exp']));
      assert.equal(Math.floor(lastExpiry / 1000), expiry);
      assert.equal((await admin.delete(`/accounts/${ada}/grants/${String(first!['gid'])}`)).status, 204);
      assert.deepEqual(await lives(), [false, true]);
      await removeExpiredRows(gatehouse.database, new Date(lastExpiry + 61_000));
      assert.deepEqual(await grants(), []);
    });

    it('unless one of the two has not verified it', async () => {
      await account('bob@partner.example', false);
      refuses(await presentAs({ email: 'bob@partner.example', email_verified: true }), /no account/);
      for (const email_verified of [false, undefined, 'true', 1, null]) {
        refuses(await presentAs({ email: 'ada@partner.example', email_verified }), /verified/);
      }
    });

    it('unless the issuer has no say about its domain', async () => {
      await account('eve@gatehouse.example');
      for (const email of ['eve@gatehouse.example', 'ada@sub.partner.example', 'ada@evil-partner.example']) {
        refuses(await presentAs({ email, email_verified: true }), /domain/);
      }
    });

    it('unless it is an address in appearance only', async () => {
      const likeness = [
        'ada@partner.example@evil.example',
        'ada@evil.example@partner.example',
        'ada@\u212bpartner.example',
      ];
      const nonsense = [
        '',
        'partner.example',
        '@partner.example',
        ['ada@partner.example'],
        'ada@partner.example\u0000',
        7,
      ];
      for (const email of [...likeness, ...nonsense]) {
        refuses(await presentAs({ email, email_verified: true }), /verified|domain/);
      }
      await account('kim@partner.example');
      // the Kelvin sign becomes a k when it is lower-cased
      refuses(await presentAs({ email: '\u212aim@partner.example', email_verified: true }), /verified/);
    });

    it('unless that account is disabled (CVE-2026-1609)', async () => {
      const gone = await account('gone@partner.example');
      const claims = { email: 'gone@partner.example', email_verified: true };
      const { body } = await presentAs(claims);
      assert.equal((await introspect(second, client, body.access_token))['active'], true);
      assert.equal((await admin.post(`/accounts/${gone}/disable`)).status, 200);
      refuses(await presentAs(claims), /disabled/);
      refuses(await presentAs(claims, second), /disabled/);
      // and what was given before is worth nothing either
      assert.equal((await introspect(second, client, body.access_token))['active'], false);
    });

    it('which holds a grant like any other, to be seen and ended', async () => {
      const { body } = await presentAs({ email: 'ada@partner.example', email_verified: true });
      const { items } = (await admin.get(`/accounts/${ada}/grants`)).body;
      const [grant] = items;
      assert.deepEqual([grant?.client_id, grant?.['scopes']], [client.client_id, ['reports:read']]);
      assert.equal((await admin.delete(`/accounts/${ada}/grants/${String(grant?.['grant_id'])}`)).status, 204);
      assert.equal((await introspect(gatehouse, client, body.access_token))['active'], false);
    });

    it('and the trail says whose account it was', async () => {
      claimsOf(await presentAs({ email: 'ada@partner.example', email_verified: true }));
      const row = await gatehouse.database
        .selectFrom('audit_events')
        .select('account_id')
        .where('event', '=', 'token.issued')
        .where('client_id', '=', client.client_id)
        .orderBy('occurred_at', 'desc')
        .executeTakeFirst();
      assert.equal(row?.account_id, ada);
    });
  });

  describe('is the account that it is linked to', () => {
    let client: RegisteredClient;
    before(async () => {
      client = await clientFor({ subject_account: 'linked' });
    });
    const link = (subject: string, account_id: string) =>
      admin.post('/subject-links', { issuer: issuer.issuer, subject, account_id });
    const presentAs = async (sub: string): Promise<TokenAnswer> =>
      present(gatehouse, client, await issuer.assert({ claims: { sub } }));

    it('from the moment on when an admin says so, until that is taken back', async () => {
      const linked = await account('linked@example.com', false);
      refuses(await presentAs('linked-7'), /not linked to an account/);
      const { status, body } = await link('linked-7', linked);
      assert.equal(status, 201);
      assert.equal(claimsOf(await presentAs('linked-7'))['sub'], linked);
      const { items } = (await admin.get(`/subject-links?account_id=${linked}`)).body;
      assert.deepEqual(
        items.map(({ subject }) => subject),
        ['linked-7'],
      );
      assert.equal((await admin.delete(`/subject-links/${String(body['link_id'])}`)).status, 204);
      refuses(await presentAs('linked-7'), /not linked to an account/);
      assert.equal((await admin.delete(`/subject-links/${String(body['link_id'])}`)).status, 404);
    });

    it('and to no other one at the same time', async () => {
      const [one, other] = [await account('one@example.com'), await account('other@example.com')];
      assert.equal((await link('one', one)).status, 201);
      assert.equal((await link('one', other)).status, 409);
      assert.equal(claimsOf(await presentAs('one'))['sub'], one);
    });

    it('unless that account is disabled (CVE-2026-1609)', async () => {
      const gone = await account('linked-gone@example.com');
      await link('gone', gone);
      await admin.post(`/accounts/${gone}/disable`);
      refuses(await presentAs('gone'), /disabled/);
    });

    it('unless its name is one that nothing could be linked to', async () => {
      for (const sub of ['a\u0000b', '\u200b', 'a\nb']) {
        refuses(await presentAs(sub), /sub must/);
        assert.equal((await link(sub, await account(`${crypto.randomUUID()}@example.com`))).status, 400);
      }
    });

    it('by a link between things that exist', async () => {
      assert.equal((await link('x', 'account_none')).status, 400);
      const linked = await account('existing@example.com');
      const unknown = { issuer: 'https://nobody.example', subject: 'x', account_id: linked };
      assert.equal((await admin.post('/subject-links', unknown)).status, 400);
      const lesser = await admin.lesser('trust:write', 'policies:write');
      assert.equal((await lesser.post('/subject-links', unknown)).status, 403);
    });
  });
});
