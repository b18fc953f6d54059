import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import type { Provider } from 'oidc-provider';
import { AuditTrail } from '../src/audit/trail.ts';
import { Argon2id } from '../src/base/argon2id.ts';
import { systemClock } from '../src/base/clock.ts';
import { sha256 } from '../src/base/secret.ts';
import { ClientDirectory } from '../src/clients/client_directory.ts';
import { SecretUses } from '../src/clients/secret_uses.ts';
import { SecretVerifier } from '../src/clients/secret_verifier.ts';
import { createDatabase, createPool } from '../src/db/connection.ts';
import { EgressFailed } from '../src/egress/failure.ts';
import { UserCodeGuesses } from '../src/limits/user_code_guesses.ts';
import { createLog } from '../src/log.ts';
import { createProviderPages } from '../src/login/provider_pages.ts';
import { createProvider } from '../src/oidc/provider.ts';
import { ResourcePolicy } from '../src/oidc/resource_policy.ts';
import { ResourceDirectory } from '../src/resources/resource_directory.ts';
import { Vault } from '../src/vault/vault.ts';
import { MasterKey } from '../src/vault/master_key.ts';
import { closeOutside, egressTo, PRIVATE, startOutside } from './support/outside.ts';

afterEach(closeOutside);

/** The provider as app.ts makes it, on a database that nothing here asks, with a way out to `origin` alone. */
async function providerWithWayOutTo(origin: string): Promise<Provider> {
  const pool = createPool({ connectionString: 'postgres:///', maxConnections: 1, onIdleError() {} });
  const database = createDatabase(pool);
  const { egress } = egressTo([], { allow: [origin] });
  const verifier = new SecretVerifier(new Vault(database, [new MasterKey(Buffer.alloc(32, 7))]), new Argon2id(1), () =>
    Promise.resolve(true),
  );
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const [issuer, log, clock] = ['https://id.example.com', createLog('silent'), systemClock];
  const settings = {
    issuer,
    database,
    clock,
    egress,
    clients: {
      directory: new ClientDirectory(database),
      verifier,
      uses: new SecretUses(database),
      clock,
      keys: { egress, clock, log },
    },
    trail: new AuditTrail({ database, log, clock, keys: { seal: () => Buffer.alloc(32) } }),
    policy: new ResourcePolicy(new ResourceDirectory(database)),
    userCodeGuesses: new UserCodeGuesses(pool),
    digestUserCode: sha256,
    pages: createProviderPages({ issuer, describeScopes: () => [] }),
    cookieKeys: ['x'.repeat(32)],
    dpopNonceSecret: Buffer.alloc(32, 'x'),
    refreshGraceSeconds: 10,
    refreshTtlSeconds: 60,
    refreshAbsoluteTtlSeconds: 60,
    sessionTtlSeconds: 60,
  };
  return createProvider(settings, [{ ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig', kid: 'ours' }]);
}

/** Makes the library fetch by its own code, which the house otherwise replaces for keys: as it does for all the rest. */
function libraryFetches(provider: Provider, jwks_uri: string): Promise<void> {
  const LibraryClient = provider.Client as unknown as new (metadata: object) => {
    readonly asymmetricKeyStore: { refresh(): Promise<void> };
  };
  const metadata = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
  const signed = { id_token_signed_response_alg: 'ES256', authorization_signed_response_alg: 'ES256' };
  const method = { token_endpoint_auth_method: 'private_key_jwt', ...signed };
  return new LibraryClient({ client_id: 'c', ...metadata, ...method, jwks_uri }).asymmetricKeyStore.refresh();
}

describe('whatever the library fetches by itself', () => {
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
