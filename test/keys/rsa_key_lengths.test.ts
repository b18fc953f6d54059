import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import type { JSONWebKeySet } from 'jose';
import { signIn, registerApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('RSA signing keys', () => {
  let older: Gatehouse;
  let gatehouse: Gatehouse;
  before(async () => {
    older = await startGatehouse({ environment: { GATEHOUSE_RSA_BITS: '2048' } });
    gatehouse = await startGatehouse({ beside: older, environment: { GATEHOUSE_RSA_BITS: '' } });
  });
  after(async () => {
    await gatehouse.stop();
    await older.stop();
  });

  const lengths = async (): Promise<number[]> => {
    const { keys } = (await (await fetch(`${gatehouse.url}/jwks`)).json()) as JSONWebKeySet;
    return keys
      .filter(({ alg }) => alg === 'RS256')
      .map((key) => createPublicKey({ key: { ...key }, format: 'jwk' }).asymmetricKeyDetails?.modulusLength ?? 0)
      .toSorted((a, b) => a - b);
  };
  const rotate = async (): Promise<void> => {
    const answer = await gatehouse.adminCall('POST', '/keys/rotate', {
      alg: 'RS256',
      reason: 'Longer',
      emergency: true,
    });
    assert.equal(answer.status, 200, await answer.text());
  };

  it('have 3,072 bits when they are made, and those that there are stay until they rotate (FIELD-V11)', async () => {
    assert.deepEqual(await lengths(), [2_048, 2_048]);
    await rotate();
    assert.deepEqual(await lengths(), [2_048, 3_072]);
    await rotate();
    assert.deepEqual(await lengths(), [3_072, 3_072]);
    // openid-client verifies what such a key signed
    const { tokens } = await signIn(gatehouse, await registerApplication(gatehouse));
    assert.equal(typeof tokens.claims()?.sub, 'string');
  });
});
