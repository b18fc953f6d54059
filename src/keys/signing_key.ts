/** Generates signing keys, and stores and reads them. The database contains private keys only in encrypted form. */
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose';
import type { SigningAlg } from '../base/signing_algs.ts';
import { json, type Reader, type Tx } from '../db/connection.ts';
import type { Vault } from '../vault/vault.ts';

/**
 * `next` is published and will sign later, `current` signs, `previous` is published until the tokens it signed have
 * expired.
 */
export type KeyStatus = 'next' | 'current' | 'previous';

/** A key without its private part, as admins and verifiers see it. */
export interface PublicKey {
  readonly kid: string;
  readonly alg: SigningAlg;
  readonly status: KeyStatus;
  readonly publicJwk: JWK;
  readonly createdAt: Date;
  readonly publishedAt: Date;
  readonly signsFrom: Date | null;
  readonly signedUntil: Date | null;
}

export interface SigningKey extends PublicKey {
  readonly privateJwk: JWK;
}

export interface KeyMaterial {
  readonly kid: string;
  readonly alg: SigningAlg;
  readonly publicJwk: JWK;
  readonly privateJwk: JWK;
}

/**
 * Generates a key pair; its `kid` is its thumbprint (RFC 7638). `rsaBits` is the modulus length of an RSA key, which
 * may take seconds: call it outside transactions.
 */
export async function generateKeyMaterial(alg: SigningAlg, rsaBits: number): Promise<KeyMaterial> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true, modulusLength: rsaBits });
  const bare = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(bare);
  const common = { kid, alg, use: 'sig' };
  return { kid, alg, publicJwk: { ...bare, ...common }, privateJwk: { ...(await exportJWK(privateKey)), ...common } };
}

export interface Insertion {
  readonly material: KeyMaterial;
  readonly status: 'next' | 'current';
}

export async function insertKey(tx: Tx, vault: Vault, { material, status }: Insertion, now: Date): Promise<void> {
  const dataKey = await vault.create(tx, 'signing_key', now);
  const { kid, alg, publicJwk, privateJwk } = material;
  await tx
    .insertInto('signing_keys')
    .values({
      kid,
      alg,
      status,
      public_jwk: json(publicJwk),
      data_key_id: dataKey.id,
      sealed: dataKey.seal(Buffer.from(json(privateJwk)), kid),
      created_at: now,
      published_at: now,
      signs_from: status === 'current' ? now : null,
      signed_until: null,
    })
    .execute();
}

const ORDER: Record<KeyStatus, number> = { current: 0, next: 1, previous: 2 };

/** Returns all keys in the order in which a signer chooses: current first. */
export async function listKeys(reader: Reader): Promise<PublicKey[]> {
  const rows = await reader.selectFrom('signing_keys').selectAll().orderBy('created_at').execute();
  return rows.map(toPublicKey).sort((a, b) => ORDER[a.status] - ORDER[b.status]);
}

export async function loadSigningKeys(reader: Reader, vault: Vault): Promise<SigningKey[]> {
  const rows = await reader.selectFrom('signing_keys').selectAll().orderBy('created_at').execute();
  const keys = await Promise.all(
    rows.map(async (row): Promise<SigningKey> => {
      const dataKey = await vault.get(row.data_key_id);
      const privateJwk = JSON.parse(dataKey.open(row.sealed, row.kid).toString()) as JWK;
      return { ...toPublicKey(row), privateJwk };
    }),
  );
  return keys.sort((a, b) => ORDER[a.status] - ORDER[b.status]);
}

interface KeyRow {
  kid: string;
  alg: SigningAlg;
  status: KeyStatus;
  public_jwk: JWK;
  created_at: Date;
  published_at: Date;
  signs_from: Date | null;
  signed_until: Date | null;
}

function toPublicKey(row: KeyRow): PublicKey {
  return {
    kid: row.kid,
    alg: row.alg,
    status: row.status,
    publicJwk: row.public_jwk,
    createdAt: row.created_at,
    publishedAt: row.published_at,
    signsFrom: row.signs_from,
    signedUntil: row.signed_until,
  };
}
