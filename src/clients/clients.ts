/**
 * Clients are the applications and services that use this server (RFC 6749, 2). This folder defines and validates their
 * metadata, stores clients and their secrets, caches the clients in use, and verifies presented secrets.
 */
import type { Database } from '../db/connection.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { Logger } from '../log.ts';
import type { Argon2id } from '../password_hashing/argon2id.ts';
import type { Vault } from '../vault/vault.ts';
import { ClientDirectory } from './client_directory.ts';
import { SecretUses } from './secret_last_used.ts';
import { SecretVerifier, type AdmitComparison } from './secret_verifier.ts';
import { countRefused, type ClientDemands } from './server_requirements.ts';

export interface ClientsSettings {
  readonly database: Database;
  readonly vault: Vault;
  readonly argon2id: Argon2id;
  /** Decides whether another hash may be computed for a client whose secret a person chose. */
  readonly secretGuesses: { readonly admit: AdmitComparison };
  readonly clientDemands: ClientDemands;
  /** Whether the start logs the number of clients that the settings of this server exclude. */
  readonly warnsOfRefused: boolean;
  readonly log: Logger;
}

export interface Clients {
  readonly clients: ClientDirectory;
  readonly secretVerifier: SecretVerifier;
  readonly secretUses: SecretUses;
  readonly feature: Feature;
}

export function createClients(settings: ClientsSettings): Clients {
  const { database, vault, argon2id, secretGuesses, warnsOfRefused, log } = settings;
  const clients = new ClientDirectory(database);
  const secretVerifier = new SecretVerifier(vault, argon2id, (clientId, address) =>
    secretGuesses.admit(clientId, address),
  );
  const secretUses = new SecretUses(database);
  const feature: Feature = {
    caches: [
      {
        topic: 'client',
        onChange: (clientId) => clients.drop(clientId),
        // this clears the cache at once, and reads the clients again in the background
        onReset: () => void clients.reload(),
        resetsFirst: true,
      },
      // a cached client includes values from its registration policy
      { topic: 'registration_policy', onChange: () => clients.dropAll() },
    ],
    jobs: [
      {
        name: 'secret_uses',
        everyMilliseconds: 20_000,
        run: (signal) => secretUses.write({ pauseMilliseconds: 50, signal }),
      },
    ],
    showMetrics(metrics) {
      metrics.gauge('gatehouse_clients_cached', 'Clients held in memory.', () => clients.cacheSize.clients);
      metrics.gauge(
        'gatehouse_clients_cached_bytes',
        'How long the clients held in memory are as text; they take up twice that.',
        () => clients.cacheSize.bytes,
      );
    },
    start: () => (warnsOfRefused ? warnOfRefusedClients(settings) : undefined),
    stop: () => secretUses.write().catch((error: unknown) => log.warn({ error }, 'secret_uses.lost')),
  };
  return { clients, secretVerifier, secretUses, feature };
}

const ADVICE =
  'Register keys for these clients, or certificates. An admin that has none gets in with one that create-admin --jwks makes.';

/** Logs a warning if the setting for strong authentication excludes existing clients. */
async function warnOfRefusedClients({ database, clientDemands, log }: ClientsSettings): Promise<void> {
  const clients = await countRefused(database, clientDemands);
  if (clients === 0) return;
  const setting = 'GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION';
  log.warn({ clients, setting, advice: ADVICE }, 'clients.refused_by_setting');
}
