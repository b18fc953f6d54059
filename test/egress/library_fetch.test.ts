import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import type { Provider } from 'oidc-provider';
import { systemClock } from '../../src/base/clock.ts';
import { EgressFailed } from '../../src/egress/failure.ts';
import { createProvider, type ProviderSettings } from '../../src/oidc/provider/configuration.ts';
import { closeOutside, egressTo, PRIVATE, startOutside } from '../support/network/outside_server.ts';

afterEach(closeOutside);

/** The provider with a way out to `origin` alone, and as much of the rest as it takes to build one. */
async function providerWithWayOutTo(origin: string): Promise<Provider> {
  const { egress } = egressTo([], { allow: [origin] });
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const settings = {
    issuer: 'https://id.example.com',
    clock: systemClock,
    egress,
    clients: {},
    policy: {},
    detailsPolicy: { types: () => [], feature: () => ({ enabled: false }) },
    pages: {},
    cookieSignatures: { sign: String, verify: () => false, index: () => -1 },
    dpopNonceSecret: Buffer.alloc(32, 'x'),
    clientCertificates: undefined,
    mtlsUrl: undefined,
    subjects: (accountId: string) => accountId,
    refreshGraceSeconds: 10,
    refreshTtlSeconds: 60,
    refreshAbsoluteTtlSeconds: 60,
    sessionTtlSeconds: 60,
    acrValues: [],
    clientDemands: { responseModes: ['query'] },
  };
  return createProvider(settings as unknown as ProviderSettings, [
    { ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig', kid: 'ours' },
  ]);
}

/** Makes the library fetch keys by its own code, which Gatehouse otherwise replaces, as it fetches everything else. */
function libraryFetches(provider: Provider, jwks_uri: string): Promise<void> {
  const LibraryClient = provider.Client as unknown as new (metadata: object) => {
    readonly asymmetricKeyStore: { refresh(): Promise<void> };
  };
  const metadata = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
  const signed = Object.fromEntries(
    ['id_token', 'authorization', 'introspection'].map((use) => [`${use}_signed_response_alg`, 'ES256']),
  );
  const method = { token_endpoint_auth_method: 'private_key_jwt', ...signed };
  return new LibraryClient({ client_id: 'c', ...metadata, ...method, jwks_uri }).asymmetricKeyStore.refresh();
}

describe('a fetch of the library itself', () => {
  it('goes through the guarded way out', async () => {
    const outside = await startOutside((_, response) => response.end('{"keys":[]}'), { address: PRIVATE, tls: false });
    const origin = `http://${PRIVATE}:${outside.port}`;
    const provider = await providerWithWayOutTo(origin);
    await libraryFetches(provider, `${origin}/keys`);
    assert.deepEqual(outside.requests, ['GET /keys']);
  });

  it('is refused there', async () => {
    const provider = await providerWithWayOutTo('http://127.0.0.1:1');
    await assert.rejects(libraryFetches(provider, 'https://169.254.169.254/keys'), ({ cause }: Error) => {
      assert.ok(cause instanceof EgressFailed);
      return cause.failure.reason === 'port_refused' || cause.failure.reason === 'address_refused';
    });
  });
});
