/**
 * The key that signs checkpoints, and the secret that seals links until a checkpoint names them. The key signs nothing
 * else, and no client verifies tokens with it. Its private half is sealed like those of the signing keys (vault/), so a
 * copy of the database can neither sign a checkpoint nor seal a link.
 */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  sign,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose';
import { sql } from 'kysely';
import { json, type Database, type Tx } from '../db/connection.ts';
import type { Vault } from '../vault/vault.ts';

interface AuditKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicJwk: JWK;
  readonly sealSecret: KeyObject;
}

export class AuditKeys {
  /** The current key first. */
  readonly #keys: readonly [AuditKey, ...AuditKey[]];

  private constructor(keys: readonly [AuditKey, ...AuditKey[]]) {
    this.#keys = keys;
  }

  /** Loads the keys of this installation. At the first start one node creates the first key. */
  static async open(database: Database, vault: Vault, now: Date): Promise<AuditKeys> {
    const [first, ...rest] = await load(database, vault);
    if (first) return new AuditKeys([first, ...rest]);
    await createFirst(database, vault, now);
    return AuditKeys.open(database, vault, now);
  }

  /** The public keys for auditors. Each is derived from its private key and not read from the database. */
  get publicJwks(): readonly JWK[] {
    return this.#keys.map(({ publicJwk }) => publicJwk);
  }

  get kid(): string {
    return this.#keys[0].kid;
  }

  /** Ed25519 (RFC 8037, section 3.1). */
  sign(text: string): Buffer {
    return sign(null, Buffer.from(text), this.#keys[0].privateKey);
  }

  seal(hash: string): Buffer {
    return makeSeal(this.#keys[0], hash);
  }

  isSealed(hash: string, seal: Buffer): boolean {
    return this.#keys.some((key) => seal.length === 32 && timingSafeEqual(makeSeal(key, hash), seal));
  }
}

function makeSeal({ sealSecret }: AuditKey, hash: string): Buffer {
  return createHmac('sha256', sealSecret).update(hash).digest();
}

async function load(database: Database, vault: Vault): Promise<AuditKey[]> {
  const rows = await database.selectFrom('audit_keys').selectAll().orderBy('created_at', 'desc').execute();
  return Promise.all(
    rows.map(async ({ kid, data_key_id, sealed }) => {
      const dataKey = await vault.get(data_key_id);
      const privateJwk = JSON.parse(dataKey.open(sealed, kid).toString()) as JWK;
      const privateKey = createPrivateKey({ key: privateJwk, format: 'jwk' });
      const publicJwk = { ...(await exportJWK(createPublicKey(privateKey))), kid, alg: 'EdDSA', use: 'sig' };
      return { kid, privateKey, publicJwk, sealSecret: createSecretKey(dataKey.digest(`seals audit links ${kid}`)) };
    }),
  );
}

async function createFirst(database: Database, vault: Vault, now: Date): Promise<void> {
  const { privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const privateJwk = await exportJWK(privateKey);
  const kid = await calculateJwkThumbprint(privateJwk);
  await database.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtext('gatehouse.audit_keys'))`.execute(tx);
    if (await tx.selectFrom('audit_keys').select('kid').executeTakeFirst()) return;
    await insert(tx, vault, { kid, privateJwk }, now);
  });
}

async function insert(tx: Tx, vault: Vault, key: { kid: string; privateJwk: JWK }, now: Date): Promise<void> {
  const dataKey = await vault.create(tx, 'signing_key', now);
  const sealed = dataKey.seal(Buffer.from(json(key.privateJwk)), key.kid);
  await tx
    .insertInto('audit_keys')
    .values({ kid: key.kid, data_key_id: dataKey.id, sealed, created_at: now })
    .execute();
}
