import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { base64url, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { Signer } from '../src/keys/signer.ts';

/** One signature in 128 has an integer that is shorter than the others. */
const SIGNATURES = 2_000;

describe('what signs access tokens', () => {
  for (const alg of ['ES256', 'EdDSA']) {
    it(`makes signatures of ${alg} that all verify and are of one length`, async () => {
      const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
      const signer = Signer.of({ ...(await exportJWK(privateKey)), alg, kid: 'one' });
      assert.ok(signer);
      for (let sequence = 0; sequence < SIGNATURES; sequence++) {
        const token: string = signer.sign('at+jwt', { sequence });
        assert.equal(base64url.decode(token.split('.')[2]!).length, 64);
        const { payload, protectedHeader } = await jwtVerify(token, publicKey);
        assert.deepEqual(payload, { sequence });
        assert.deepEqual(protectedHeader, { alg, typ: 'at+jwt', kid: 'one' });
      }
    });
  }
});
