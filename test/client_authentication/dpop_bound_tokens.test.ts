import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { resetClock } from '../support/node/clock.ts';
import { registerApplication, requestCode } from '../support/client/code_flow.ts';
import { athOf, makeProofKey, prove, type ProofKey, type ProofParts } from '../support/client/dpop.ts';
import { ago, codeForm, openDpopScene, read, type Answer, type DpopScene } from '../support/client/dpop_nodes.ts';
import { postForm, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

describe('a token that is bound to a key', () => {
  let scene: DpopScene;
  let gatehouse: Gatehouse;
  let spa: RegisteredClient;
  let key: ProofKey;
  let proof: DpopScene['proof'];
  let ask: DpopScene['ask'];
  let boundTokens: DpopScene['boundTokens'];
  before(async () => {
    scene = await openDpopScene();
    ({ gatehouse, spa, key, proof, ask, boundTokens } = scene);
  });
  after(() => scene.stop());
  afterEach(resetClock);

  const tokenUrl = (): string => `${gatehouse.issuer}/token`;

  describe('a bound token at userinfo', () => {
    const userinfoUrl = (): string => `${gatehouse.issuer}/userinfo`;
    const userinfo = async (authorization: string, dpop?: string): Promise<Answer> =>
      read(await fetch(userinfoUrl(), { headers: { authorization, ...(dpop !== undefined && { DPoP: dpop }) } }));
    const proofFor = (token: string, parts: ProofParts = {}, by = key): Promise<string> =>
      prove(by, ['GET', userinfoUrl()], { ...parts, claims: { ath: athOf(token), ...parts.claims } });

    it('answers to its key, once a proof', async () => {
      const { access_token } = await boundTokens();
      const single = await proofFor(access_token);
      const answer = await userinfo(`DPoP ${access_token}`, single);
      assert.equal(answer.status, 200);
      assert.match(String(answer.body['sub']), /^account_/);
      const again = await userinfo(`DPoP ${access_token}`, single);
      assert.deepEqual([again.status, again.body['error']], [401, 'invalid_dpop_proof']);
      assert.match(again.headers.get('www-authenticate') ?? '', /^DPoP .*error="invalid_dpop_proof".*algs="ES256/);
    });

    it('DPOP-18: is refused as a bearer token (CVE-2024-49755)', async () => {
      const { access_token } = await boundTokens();
      assert.equal((await userinfo(`Bearer ${access_token}`)).status, 401);
      assert.equal([400, 401].includes((await userinfo(`DPoP ${access_token}`)).status), true);
      const mixed = await userinfo(`Bearer ${access_token}`, await proofFor(access_token));
      assert.equal([400, 401].includes(mixed.status), true);
    });

    it('DPOP-20: is refused with a proof that does not name it (ath)', async () => {
      const { access_token } = await boundTokens();
      for (const ath of [undefined, athOf('another token'), access_token]) {
        const answer = await userinfo(`DPoP ${access_token}`, await proofFor(access_token, { claims: { ath } }));
        assert.deepEqual([answer.status, answer.body['error']], [401, 'invalid_dpop_proof']);
      }
    });

    it('is refused with another key, and with a proof for the token endpoint', async () => {
      const { access_token } = await boundTokens();
      const foreign = await userinfo(`DPoP ${access_token}`, await proofFor(access_token, {}, await makeProofKey()));
      assert.equal(foreign.status, 401);
      const elsewhere = await proofFor(access_token, { claims: { htu: tokenUrl() } });
      assert.equal((await userinfo(`DPoP ${access_token}`, elsewhere)).status, 401);
    });

    it('is refused with an old proof that has a valid nonce', async () => {
      const { access_token } = await boundTokens();
      const first = await userinfo(`DPoP ${access_token}`, await proofFor(access_token));
      const nonce = first.headers.get('dpop-nonce')!;
      const old = await proofFor(access_token, { claims: { nonce, iat: ago(360) } });
      assert.equal((await userinfo(`DPoP ${access_token}`, old)).status, 401);
    });

    it('does not become one by presenting a bearer token with a proof', async () => {
      const { body } = await ask(undefined, codeForm(await requestCode(gatehouse, spa)), { who: spa });
      const bearer = String(body['access_token']);
      assert.equal(body['token_type'], 'Bearer');
      assert.equal((await userinfo(`DPoP ${bearer}`, await proofFor(bearer))).status, 401);
      assert.equal((await userinfo(`Bearer ${bearer}`)).status, 200);
    });
  });

  it('shows the key of an opaque token at introspection too', async () => {
    const application = await registerApplication(gatehouse);
    const form = codeForm(await requestCode(gatehouse, application));
    const { body } = await ask(await proof(), form, { who: application });
    const token = String(body['access_token']);
    const told = await read(await postForm(`${gatehouse.url}/introspect`, { token }, application));
    assert.deepEqual([told.body['active'], told.body['token_type']], [true, 'DPoP']);
    assert.deepEqual(told.body['cnf'], { jkt: key.thumbprint });
  });

  it('opens nothing at the admin API without its proof', async () => {
    const { body } = await ask(await proof(), { scope: 'clients:read' }, { who: gatehouse.admin });
    assert.equal(body['token_type'], 'DPoP');
    for (const scheme of ['Bearer', 'DPoP']) {
      const headers = { authorization: `${scheme} ${String(body['access_token'])}` };
      const answer = await fetch(`${gatehouse.url}/admin/v1/clients`, { headers });
      await answer.body?.cancel();
      assert.equal(answer.status, 401);
    }
  });
});
