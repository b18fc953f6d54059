import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { exportJWK, exportSPKI, generateKeyPair, type CryptoKey, type JWK } from 'jose';
import { Admin } from '../support/client/admin.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { closeOutside, PRIVATE, startOutside, type Outside } from '../support/network/outside_server.ts';
import { makeIssuer, trust, type OutsideIssuer } from '../support/network/outside_issuer.ts';
import {
  claimsOf,
  introspect,
  JWT_BEARER,
  makePolicy,
  present as presentFrom,
  type TokenAnswer,
} from '../support/client/exchanged_tokens.ts';

const resource = 'https://reports.example.com';

let hosts = 0;
/** From an address of its own: many refusals of one network are counted, and their reasons are not on record. */
const present = (...[gatehouse, client, assertion, form]: Parameters<typeof presentFrom>): Promise<TokenAnswer> =>
  presentFrom(gatehouse, client, assertion, form, { 'x-forwarded-for': `192.0.2.${++hosts}` });

describe('an assertion of a trusted issuer', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  let issuer: OutsideIssuer;
  let client: RegisteredClient;
  let outside: Outside;
  let published: readonly JWK[] = [];
  before(async () => {
    outside = await startOutside((_, response) => response.end(JSON.stringify({ keys: published })), {
      address: PRIVATE,
      tls: false,
    });
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_EGRESS_ALLOW: origin(), GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1/32' },
    });
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    await registerResource(gatehouse, 'reports');
    client = await registerClient(gatehouse, { grant_types: [JWT_BEARER], resources: [] });
    issuer = await trusted();
  });
  after(async () => {
    closeOutside();
    await second.stop();
    await gatehouse.stop();
  });
  afterEach(resetClock);

  const origin = (): string => `http://${PRIVATE}:${outside.port}`;
  const pathOf = ({ issuer: name }: OutsideIssuer): string => `/trusted-issuers/${encodeURIComponent(name)}`;
  const trusted = async (changed: Readonly<Record<string, unknown>> = {}, alg = 'ES256'): Promise<OutsideIssuer> => {
    const made = await makeIssuer(gatehouse.issuer, alg);
    await trust(admin, made, { algs: [alg], ...changed });
    await makePolicy(admin, 'assertion-policies', {
      client_id: client.client_id,
      issuer: made.issuer,
      subject_account: 'external',
      resource,
      scopes: ['reports:read'],
    });
    return made;
  };
  const refuses = ({ status, body }: TokenAnswer, words = /./): void => {
    assert.deepEqual([status, body.error], [400, 'invalid_grant'], JSON.stringify(body));
    assert.match(String(body.error_description), words);
    assert.equal(body.access_token, undefined);
  };
  const reasons = async (): Promise<unknown[]> => {
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'token.refused')
      .orderBy('occurred_at', 'desc')
      .orderBy('sequence', 'desc')
      .limit(1)
      .execute();
    return rows.map(({ details }) => details['reason']);
  };
  const inAn = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;
  const encoded = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

  for (const alg of ['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA']) {
    it(`is taken with ${alg}, where that is what its issuer signs with`, async () => {
      claimsOf(await present(gatehouse, client, await (await trusted({}, alg)).assert()));
    });
  }

  describe('is refused when it is signed', () => {
    it('with alg none, which is no signature', async () => {
      const claims = encoded(issuer.claims());
      for (const alg of ['none', 'NONE', '']) {
        refuses(await present(gatehouse, client, `${encoded({ alg, kid: issuer.kid })}.${claims}.`));
      }
      assert.deepEqual(await reasons(), ['alg_refused']);
    });

    it('with the public key taken for a shared secret (CVE-2026-11800)', async () => {
      const spki = new TextEncoder().encode(await exportSPKI(issuer.publicKey));
      const jwk = new TextEncoder().encode(JSON.stringify(issuer.jwk));
      for (const signer of [spki, jwk]) {
        refuses(await present(gatehouse, client, await issuer.assert({ header: { alg: 'HS256' }, signer })));
        assert.deepEqual(await reasons(), ['alg_refused']);
      }
    });

    it('with another algorithm than its issuer’s, though the key could (CVE-2026-11800)', async () => {
      const rsa = await trusted({}, 'RS256');
      const { privateKey } = await generateKeyPair('PS256', { extractable: true });
      refuses(await present(gatehouse, client, await rsa.assert({ header: { alg: 'PS256' }, signer: privateKey })));
      assert.deepEqual(await reasons(), ['alg_refused']);
    });

    it('by a stranger under the known kid', async () => {
      const { privateKey } = await generateKeyPair('ES256');
      refuses(await present(gatehouse, client, await issuer.assert({ signer: privateKey })), /signature/);
    });

    it('with a key that the header brings along or points to, and nothing is fetched', async () => {
      const stranger = await makeIssuer(gatehouse.issuer);
      const { privateKey } = await generateKeyPair('ES256');
      const asked = outside.requests.length;
      for (const header of [
        { jwk: stranger.jwk },
        { jku: `${origin()}/jwks` },
        { x5u: `${origin()}/cert` },
        { x5c: ['MIIB'] },
        { kid: undefined, jwk: stranger.jwk },
        { kid: `${origin()}/key` },
        { kid: '../../../../dev/null' },
        { kid: "' or 1=1 --" },
      ]) {
        refuses(await present(gatehouse, client, await issuer.assert({ header, signer: privateKey })), /signature|key/);
      }
      assert.equal(outside.requests.length, asked);
    });

    it('by another issuer that is trusted as well', async () => {
      const other = await trusted();
      refuses(await present(gatehouse, client, await other.assert({ claims: { iss: issuer.issuer } })), /key/);
    });
  });

  describe('is refused when it says', () => {
    const cases: readonly [what: string, parts: () => object, reason: string][] = [
      ['that a stranger issued it', () => ({ claims: { iss: 'https://evil.example' } }), 'issuer_unknown'],
      ['no issuer', () => ({ claims: { iss: undefined } }), 'issuer_unknown'],
      ['several issuers', () => ({ claims: { iss: [issuer.issuer] } }), 'issuer_unknown'],
      ['its issuer in another case', () => ({ claims: { iss: issuer.issuer.toUpperCase() } }), 'issuer_unknown'],
      ['its issuer with a slash more', () => ({ claims: { iss: `${issuer.issuer}/` } }), 'issuer_unknown'],
      ['a member of every object for an issuer', () => ({ claims: { iss: '__proto__' } }), 'issuer_unknown'],
      ['that it is for another server', () => ({ claims: { aud: 'https://other.example' } }), 'audience_refused'],
      [
        'that it is for the token endpoint',
        () => ({ claims: { aud: `${gatehouse.issuer}/token` } }),
        'audience_refused',
      ],
      ['that it is for others, too', () => ({ claims: { aud: [gatehouse.issuer, 'x'] } }), 'audience_refused'],
      ['no audience', () => ({ claims: { aud: undefined } }), 'audience_refused'],
      ['that it is for an empty audience', () => ({ claims: { aud: [] } }), 'audience_refused'],
      ['that it has expired', () => ({ claims: { exp: inAn(-1) } }), 'expired'],
      ['that it expires now', () => ({ claims: { exp: inAn(0) } }), 'expired'],
      ['that it expires within this second', () => ({ claims: { exp: inAn(0) + 0.9 } }), 'expired'],
      ['no time of its end', () => ({ claims: { exp: undefined } }), 'claims_invalid'],
      ['its end as text', () => ({ claims: { exp: String(inAn(60)) } }), 'claims_invalid'],
      ['that it is good for a day', () => ({ claims: { exp: inAn(86_400) } }), 'lifetime_refused'],
      ['that it is good for ever', () => ({ claims: { exp: 1e300 } }), 'lifetime_refused'],
      ['that it is not good yet', () => ({ claims: { nbf: inAn(120) } }), 'not_yet_valid'],
      ['that it was issued in the future', () => ({ claims: { iat: inAn(120) } }), 'not_yet_valid'],
      ['a time that is none', () => ({ claims: { nbf: 'soon' } }), 'claims_invalid'],
      ['that it is an access token', () => ({ header: { typ: 'at+jwt' } }), 'typ_refused'],
      ['that it is a logout token', () => ({ header: { typ: 'application/logout+jwt' } }), 'typ_refused'],
      ['that it is a DPoP proof', () => ({ header: { typ: 'dpop+jwt' } }), 'typ_refused'],
      ['that something in it is critical', () => ({ header: { crit: ['x'], x: 1 } }), 'header_refused'],
    ];
    for (const [what, parts, reason] of cases) {
      it(what, async () => {
        const assertion = await forged(issuer, parts());
        refuses(await present(gatehouse, client, assertion));
        assert.deepEqual(await reasons(), [reason]);
      });
    }

    const subjects: readonly [what: string, claims: object, words: RegExp][] = [
      ['no subject', { sub: undefined }, /sub must/],
      ['a subject without a name', { sub: '' }, /sub must/],
      ['a subject with a very long name', { sub: 'x'.repeat(256) }, /sub must/],
      ['a subject whose name can not be stored', { sub: 'a\u0000b' }, /sub must/],
      ['a subject with an invisible name', { sub: '\u200b' }, /sub must/],
      ['a subject that is a number', { sub: 7 }, /sub must/],
      ['no jti', { jti: undefined }, /jti must/],
      ['a jti that is a number', { jti: 7 }, /jti must/],
      ['a very long jti', { jti: 'x'.repeat(257) }, /jti must/],
    ];
    for (const [what, claims, words] of subjects) {
      it(what, async () => refuses(await present(gatehouse, client, await forged(issuer, { claims })), words));
    }
  });

  /** jose’s own signer would not sign all of these. */
  async function forged(by: OutsideIssuer, { header = {}, claims = {} }: { header?: object; claims?: object }) {
    if (!('crit' in header)) return by.assert({ header: { ...header }, claims: { ...claims } });
    const good = await by.assert({ claims: { ...claims } });
    const [, payload, signature] = good.split('.');
    return `${encoded({ alg: 'ES256', kid: by.kid, ...header })}.${payload}.${signature}`;
  }

  it('is refused when it is no JWT at all', async () => {
    const good = await issuer.assert();
    const nonsense = ['x', '..', 'a.b.c', `${good}.${good}`, 'x'.repeat(20_000), '\u0000', `${encoded([])}.e30.x`];
    for (const one of nonsense) refuses(await present(gatehouse, client, one));
    refuses(await present(gatehouse, client, `${good.slice(0, -6)}AAAAAA`), /signature/);
  });

  it('is taken within a small difference of the clocks', async () => {
    const claims = { iat: inAn(20), nbf: inAn(20) };
    claimsOf(await present(gatehouse, client, await issuer.assert({ claims })));
  });

  it('is none when it is a token of this very server', async () => {
    refuses(await present(gatehouse, client, await requestToken(gatehouse.url, gatehouse.demo)), /not trusted/);
  });

  describe('loses its worth when its issuer', () => {
    it('is disabled, on every node within a second (CVE-2026-1486)', async () => {
      const made = await trusted();
      claimsOf(await present(second, client, await made.assert()));
      assert.equal((await admin.patch(pathOf(made), { disabled: true })).status, 200);
      refuses(await present(gatehouse, client, await made.assert()), /not trusted/);
      await eventually(async () => (await present(second, client, await made.assert())).status === 400);
      assert.equal((await admin.patch(pathOf(made), { disabled: false })).status, 200);
      claimsOf(await present(gatehouse, client, await made.assert()));
    });

    it('is disabled, and so do the tokens that it gave (CVE-2026-1486)', async () => {
      const made = await trusted();
      const { body } = await present(gatehouse, client, await made.assert());
      assert.equal((await introspect(second, client, body.access_token))['active'], true);
      await admin.patch(pathOf(made), { disabled: true });
      assert.equal((await introspect(gatehouse, client, body.access_token))['active'], false);
      await eventually(async () => (await introspect(second, client, body.access_token))['active'] === false);
    });

    it('is trusted for something else alone', async () => {
      const made = await trusted();
      await admin.patch(pathOf(made), { purposes: ['software_statement', 'token_exchange'] });
      refuses(await present(gatehouse, client, await made.assert()), /not trusted/);
      assert.deepEqual(await reasons(), ['purpose_refused']);
    });

    it('has another key', async () => {
      const made = await trusted();
      const { jwk } = await makeIssuer(gatehouse.issuer);
      await admin.patch(pathOf(made), { jwks: { keys: [jwk] } });
      refuses(await present(gatehouse, client, await made.assert()), /key/);
    });
  });

  describe('whose issuer publishes its keys (jwks_uri)', () => {
    const publishing = async (path: string): Promise<OutsideIssuer> => {
      const made = await trusted({ jwks: undefined, jwks_uri: `${origin()}${path}` });
      published = [made.jwk];
      outside.requests.length = 0;
      return made;
    };

    it('is refused where its issuer’s keys can’t be read', async () => {
      const made = await trusted({ jwks: undefined, jwks_uri: 'http://127.0.0.1:1/jwks' });
      refuses(await present(gatehouse, client, await made.assert()), /keys/);
      assert.deepEqual(await reasons(), ['keys_unavailable']);
    });

    it('shares one fetch of the keys with many others', async () => {
      const made = await publishing('/once');
      for (let times = 0; times < 5; times++) claimsOf(await present(gatehouse, client, await made.assert()));
      assert.equal(outside.requests.length, 1);
    });

    it('with an unknown kid has the keys fetched again, but not more often than every half minute', async () => {
      const made = await publishing('/rotated');
      claimsOf(await present(gatehouse, client, await made.assert()));
      const { jwk, next } = await nextKey();
      published = [made.jwk, jwk];
      moveClock(29);
      refuses(await present(gatehouse, client, await made.assert(next())), /key/);
      assert.equal(outside.requests.length, 1);
      moveClock(2);
      claimsOf(await present(gatehouse, client, await made.assert(next())));
      refuses(await present(gatehouse, client, await made.assert({ header: { kid: 'guessed' } })), /key/);
      assert.equal(outside.requests.length, 2);
    });

    it('is refused an hour after its key was withdrawn', async () => {
      const made = await publishing('/withdrawn');
      claimsOf(await present(gatehouse, client, await made.assert()));
      published = [];
      moveClock(3_601);
      refuses(await present(gatehouse, client, await made.assert()), /key/);
    });

    const nextKey = async (): Promise<{ jwk: JWK; next: () => { header: { kid: string }; signer: CryptoKey } }> => {
      const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
      const jwk = { ...(await exportJWK(publicKey)), kid: 'next' };
      return { jwk, next: () => ({ header: { kid: 'next' }, signer: privateKey }) };
    };
  });

  it('needs no kid where one key alone fits, and names one where several do', async () => {
    const [one, other] = [await makeIssuer(gatehouse.issuer), await makeIssuer(gatehouse.issuer)];
    const made = await trusted();
    const unnamed = (): Promise<string> => made.assert({ header: { kid: undefined } });
    claimsOf(await present(gatehouse, client, await unnamed()));
    await admin.patch(pathOf(made), { jwks: { keys: [made.jwk, one.jwk, other.jwk] } });
    refuses(await present(gatehouse, client, await unnamed()), /key/);
    claimsOf(await present(gatehouse, client, await made.assert()));
  });
});
