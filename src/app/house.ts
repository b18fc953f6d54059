/** What a node is made of: one of each part, given to one another. */
import { lookup } from 'node:dns/promises';
import type pg from 'pg';
import { ADMIN_SCOPES, adminResourceIdentifier } from '../admin/admin.ts';
import { AuditKeys } from '../audit/audit_keys.ts';
import { Checkpoints } from '../audit/checkpoints.ts';
import { SYSTEM } from '../audit/events.ts';
import { makePartitions } from '../audit/partitions.ts';
import { AuditTrail } from '../audit/trail.ts';
import { Argon2id } from '../base/argon2id.ts';
import type { Clock } from '../base/clock.ts';
import type { Digest } from '../base/secret.ts';
import { ensureAdminResource, type AdminApi } from '../bootstrap/admin_access.ts';
import { ChangeFollower } from '../changes/change_follower.ts';
import { ClientDirectory } from '../clients/client_directory.ts';
import { SecretUses } from '../clients/secret_uses.ts';
import { type Config } from '../config.ts';
import type { Database } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import type { Resolve } from '../egress/addresses.ts';
import { Egress } from '../egress/egress.ts';
import { KeyRing } from '../keys/key_ring.ts';
import { KeyRotation } from '../keys/rotation.ts';
import { TokenVerifier } from '../keys/token_verifier.ts';
import type { Logger } from '../log.ts';
import { AccessTokens } from '../oidc/access_tokens.ts';
import { RevokedTokens } from '../oidc/revoked_tokens.ts';
import { ResourceDirectory } from '../resources/resource_directory.ts';
import type { MasterKey } from '../vault/master_key.ts';
import { Vault } from '../vault/vault.ts';

export interface AppSettings {
  readonly config: Config;
  readonly pool: pg.Pool;
  readonly database: Database;
  /** For LISTEN, which wakes this node when something changed; without it the poll alone brings the news. */
  readonly connectionString: string | undefined;
  readonly masterKeys: readonly [MasterKey, ...MasterKey[]];
  readonly log: Logger;
  readonly clock: Clock;
  /** Stands for `dns.lookup` in tests. */
  readonly resolve?: Resolve;
}

export type House = Awaited<ReturnType<typeof furnish>>;

/** Everything that this node has one of, ready for use: keys and caches are loaded, and followed from here on. */
export async function furnish({
  config,
  database,
  connectionString,
  masterKeys,
  log,
  clock,
  resolve = lookup,
}: AppSettings) {
  const { issuer } = config;
  const now = clock();
  const vault = new Vault(database, masterKeys);
  await vault.verify();
  // an audit event's fields are ours and hold no secret: looking for one in each of them would be paid at every token
  const auditLog = log.child({ stream: 'audit' }, { redact: [] });
  await makePartitions(database, now).catch((error: unknown) => log.warn({ error }, 'audit.partitions_not_made'));
  const auditKeys = await AuditKeys.open(database, vault, now);
  const trail = new AuditTrail({ database, keys: auditKeys, log: auditLog, clock });
  const { auditRetentionDays: retentionDays } = config;
  const checkpoints = new Checkpoints({ database, keys: auditKeys, trail, clock, log, retentionDays });
  const argon2id = new Argon2id(2);
  const adminApi: AdminApi = { identifier: adminResourceIdentifier(issuer), scopes: ADMIN_SCOPES };
  await transact(database, (tx) => ensureAdminResource({ tx, trail, origin: SYSTEM, now }, adminApi));

  const clients = new ClientDirectory(database);
  const resources = new ResourceDirectory(database);
  const ring = new KeyRing(database, vault);
  const revoked = new RevokedTokens(database);
  const rotation = new KeyRotation({
    database,
    vault,
    trail,
    jwksMaxAgeSeconds: config.jwksMaxAgeSeconds,
    rotationDays: config.keyRotationDays,
  });
  await rotation.ensureKeys(now);

  const changes = new ChangeFollower({
    database,
    connectionString,
    pollMilliseconds: config.changePollMilliseconds,
    clock,
    onError: (error) => log.warn({ error }, 'change_log.unreadable'),
  });
  changes.on('client', (clientId) => clients.drop(clientId));
  changes.on('resource', () => resources.load());
  changes.on('signing_keys', () => ring.load());
  changes.on('revoked_token', (jti) => revoked.add(jti, clock()));
  changes.onReset(async () => {
    clients.dropAll();
    await Promise.all([resources.load(), ring.load(), revoked.load(clock())]);
  });
  // first the log, then what it keeps fresh: no change can fall between the two
  await changes.start();
  await Promise.all([resources.load(), ring.load(), revoked.load(now)]);

  const browserKey = await vault.current('cookies', now);
  const cookieKey = browserKey.digest('signs cookies').toString('base64url');
  const digestUserCode = (userCode: string): Digest => browserKey.digest(`user code ${userCode}`);
  const dpopNonceSecret = (await vault.current('dpop_nonces', now)).digest('makes DPoP nonces');
  const tokens = new AccessTokens({ database, verifier: new TokenVerifier(ring, issuer), clients, revoked });
  const uses = new SecretUses(database);
  const egress = new Egress({ allow: config.egressAllow, resolve, clock, log });
  return {
    vault,
    cookieKey,
    digestUserCode,
    dpopNonceSecret,
    trail,
    auditKeys,
    checkpoints,
    argon2id,
    adminApi,
    clients,
    resources,
    ring,
    revoked,
    rotation,
    changes,
    tokens,
    uses,
    egress,
  };
}
