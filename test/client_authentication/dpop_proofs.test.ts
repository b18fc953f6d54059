import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { json } from 'node:stream/consumers';
import { after, afterEach, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { makeProofKey, prove, type ProofKey } from '../support/client/dpop.ts';
import { ago, openDpopScene, read, type Answer, type DpopScene } from '../support/client/dpop_nodes.ts';
import { postForm, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

describe('the token endpoint', () => {
  let scene: DpopScene;
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let client: RegisteredClient;
  let key: ProofKey;
  let proof: DpopScene['proof'];
  let ask: DpopScene['ask'];
  let refuses: DpopScene['refuses'];
  before(async () => {
    scene = await openDpopScene();
    ({ gatehouse, second, client, key, proof, ask, refuses } = scene);
  });
  after(() => scene.stop());
  afterEach(resetClock);

  const tokenUrl = (): string => `${gatehouse.issuer}/token`;

  describe('refuses a proof', () => {
    it('DPOP-02: for another path of this server', async () => {
      await refuses(await proof({ claims: { htu: `${gatehouse.issuer}/other` } }));
    });

    for (const [what, htu] of Object.entries<() => unknown>({
      'of another server': () => 'https://other.example.com/token',
      'of the node that it was sent to, which is not the issuer': () => `${second.url}/token`,
      'under the same host with another scheme': () => tokenUrl().replace('http:', 'https:'),
      'that is no URL': () => '/token',
      'that is no text': () => [tokenUrl()],
      'that is missing': () => undefined,
    })) {
      it(`for a URL ${what}`, async () => {
        const { body } = await ask(await proof({ claims: { htu: htu() } }), {}, { node: second });
        assert.equal(body['error'], 'invalid_dpop_proof');
      });
    }

    it('for another method', async () => {
      for (const htm of ['GET', 'post', undefined]) await refuses(await proof({ claims: { htm } }));
    });

    it('DPOP-04: that was made an hour ago', async () => {
      await refuses(await proof({ claims: { iat: ago(3_600) } }));
    });

    it('that was made six minutes ago, also with a nonce that is valid', async () => {
      const nonce = (await ask(await proof())).headers.get('dpop-nonce')!;
      await refuses(await proof({ claims: { nonce, iat: ago(360) } }));
      await refuses(await proof({ claims: { nonce, iat: 1 } }));
      assert.equal((await ask(await proof({ claims: { nonce } }))).status, 200);
    });

    it('that was made ahead of time, or at no time', async () => {
      for (const iat of [ago(-120), ago(-3_600), undefined, 'now', null, 1e300]) {
        await refuses(await proof({ claims: { iat } }));
      }
    });

    it('DPOP-06: without a jti, or with one that is no text', async () => {
      for (const jti of [undefined, '', 7, ['a'], null]) await refuses(await proof({ claims: { jti } }));
    });

    it('DPOP-08: without a signature (alg none)', async () => {
      const [, payload] = (await proof()).split('.');
      const header = { alg: 'none', typ: 'dpop+jwt', jwk: key.jwk };
      await refuses(`${Buffer.from(JSON.stringify(header)).toString('base64url')}.${payload}.`);
    });

    it('that is signed with a shared secret, the public key as one included', async () => {
      const [, payload] = (await proof()).split('.');
      const secret = Buffer.from('k'.repeat(32));
      for (const jwk of [{ kty: 'oct', k: secret.toString('base64url') }, key.jwk]) {
        const header = Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'dpop+jwt', jwk })).toString('base64url');
        const mac = createHmac('sha256', secret).update(`${header}.${payload}`).digest('base64url');
        await refuses(`${header}.${payload}.${mac}`);
      }
    });

    it('DPOP-10: with a private key in its header (CVE-2026-54431)', async () => {
      await refuses(await proof({ header: { jwk: key.privateJwk } }));
    });

    it('DPOP-12: of the type JWT, or of any other than dpop+jwt', async () => {
      for (const typ of ['JWT', 'at+jwt', 'dpop', undefined]) await refuses(await proof({ header: { typ } }));
    });

    it('DPOP-14: with a nonce that this server never gave', async () => {
      const answer = await ask(await proof({ claims: { nonce: 'bogus' } }));
      assert.deepEqual([answer.status, answer.body['error']], [400, 'use_dpop_nonce']);
      assert.match(answer.headers.get('dpop-nonce') ?? '', /^[\w-]{43}$/);
    });

    it('with a nonce that is no text', async () => {
      for (const nonce of [7, { a: 1 }, ['a']]) await refuses(await proof({ claims: { nonce } }));
    });

    it('DPOP-16: that comes with a second one, be it the same or an empty one', async () => {
      const one = await proof();
      for (const other of [one, await proof(), '']) {
        const { client_id, client_secret } = client;
        const asked = request(`${gatehouse.url}/token`, {
          method: 'POST',
          headers: {
            authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}`,
            'content-type': 'application/x-www-form-urlencoded',
            DPoP: [one, other],
          },
        });
        asked.end('grant_type=client_credentials');
        const [response] = (await once(asked, 'response')) as [NodeJS.ReadableStream & { statusCode: number }];
        const { error } = (await json(response)) as { error?: string };
        assert.deepEqual([response.statusCode, error], [400, 'invalid_dpop_proof']);
      }
    });

    it('that another key signed, or that was changed since', async () => {
      const other = await makeProofKey();
      await refuses(await proof({ signer: other.privateKey }));
      const [header, , signature] = (await proof()).split('.');
      const [, payload] = (await proof()).split('.');
      await refuses(`${header}.${payload}.${signature}`);
    });

    it('with a key of a kind that the metadata does not name', async () => {
      for (const alg of ['RS256', 'ES384']) await refuses(await prove(await makeProofKey(alg), ['POST', tokenUrl()]));
    });

    it('without a key, or that only says where the key is', async () => {
      for (const jwk of [undefined, null, {}, 'x']) await refuses(await proof({ header: { jwk } }));
      await refuses(await proof({ header: { jwk: undefined, jku: 'http://127.0.0.1:1/jwks', kid: 'a' } }));
    });

    it('that is no JWT at all', async () => {
      for (const text of ['x', 'a.b.c', '..', `${'e30.'.repeat(100)}e30`, '{}', 'e30.e30.e30']) await refuses(text);
    });
  });

  describe('takes a proof once:', () => {
    const errorsOf = (answers: readonly Answer[]): unknown[] => answers.map(({ body }) => body['error']);

    it('not again on this node, and the audit trail says so', async () => {
      const single = await proof();
      assert.equal((await ask(single)).status, 200);
      await refuses(single);
      const { event, client_id } = await gatehouse.database
        .selectFrom('audit_events')
        .selectAll()
        .where('event', '=', 'dpop_proof.replayed')
        .executeTakeFirstOrThrow();
      assert.deepEqual([event, client_id], ['dpop_proof.replayed', client.client_id]);
    });

    it('not on another node', async () => {
      const single = await proof();
      assert.equal((await ask(single)).status, 200);
      const again = await ask(single, {}, { node: second });
      assert.deepEqual([again.status, again.body['error']], [400, 'invalid_dpop_proof']);
    });

    it('of twelve requests at once on two nodes one wins', async () => {
      const single = await proof();
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_, index) => ask(single, {}, { node: index % 2 === 0 ? gatehouse : second })),
      );
      assert.equal(answers.filter(({ status }) => status === 200).length, 1);
      assert.deepEqual(new Set(errorsOf(answers)), new Set([undefined, 'invalid_dpop_proof']));
    });

    it('not from another client, who saw it on its way', async () => {
      const single = await proof();
      assert.equal((await ask(single)).status, 200);
      const thief = await registerClient(gatehouse);
      assert.deepEqual(errorsOf([await ask(single, {}, { who: thief })]), ['invalid_dpop_proof']);
    });

    it('for as long as it would be fresh, also one from a clock that is ahead', async () => {
      const early = await proof({ claims: { iat: ago(-50) } });
      assert.equal((await ask(early)).status, 200);
      moveClock(345);
      await removeExpiredRows(gatehouse.database, new Date());
      const { body } = await ask(early);
      assert.equal(body['error_description'], 'the DPoP proof was already used');
    });

    it('and the same jti under another key is another proof', async () => {
      const jti = randomUUID();
      assert.equal((await ask(await proof({ claims: { jti } }))).status, 200);
      assert.equal((await ask(await proof({ claims: { jti } }, await makeProofKey()))).status, 200);
    });

    it('and so is a client assertion that happens to have its jti', async () => {
      const { privateKey, publicKey } = await generateKeyPair('ES256');
      const { client_id } = await registerClient(gatehouse, {
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [await exportJWK(publicKey)] },
      });
      const jti = randomUUID();
      const client_assertion = await new SignJWT({ jti, iss: client_id, sub: client_id, aud: gatehouse.issuer })
        .setProtectedHeader({ alg: 'ES256' })
        .setExpirationTime('1m')
        .sign(privateKey);
      const client_assertion_type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
      const form = { grant_type: 'client_credentials', client_assertion, client_assertion_type };
      const present = async (): Promise<Answer> =>
        read(await postForm(tokenUrl(), form, undefined, { DPoP: await proof({ claims: { jti } }) }));
      assert.equal((await present()).body['token_type'], 'DPoP');
      // the assertion is what came again now
      assert.deepEqual([(await present()).status], [401]);
    });

    it('and a request that failed for another reason does not use it up', async () => {
      const single = await proof();
      assert.equal((await ask(single, { scope: 'notes:everything' })).body['error'], 'invalid_scope');
      assert.equal((await ask(single)).status, 200);
    });
  });
});
