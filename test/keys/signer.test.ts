import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { base64url, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { Signer } from '../../src/keys/signer.ts';

/** Algorithm, bytes of a signature, and how many are made: one of ES256 in 128 has an integer that is shorter. */
const KINDS: [string, number, number][] = [
  ['ES256', 64, 2_000],
  ['EdDSA', 64, 200],
  ['RS256', 256, 20],
];

describe('what signs access tokens', () => {
  for (const [alg, bytes, signatures] of KINDS) {
    it(`makes signatures of ${alg} that all verify and are of one length`, async () => {
      const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
      const signer = Signer.of({ ...(await exportJWK(privateKey)), alg, kid: 'one' });
      assert.ok(signer);
      for (let sequence = 0; sequence < signatures; sequence++) {
        const token: string = await signer.sign('at+jwt', { sequence });
        assert.equal(base64url.decode(token.split('.')[2]!).length, bytes);
        const { payload, protectedHeader } = await jwtVerify(token, publicKey);
        assert.deepEqual(payload, { sequence });
        assert.deepEqual(protectedHeader, { alg, typ: 'at+jwt', kid: 'one' });
      }
    });
  }
});
