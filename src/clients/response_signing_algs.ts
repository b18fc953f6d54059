/**
 * The algorithms that the server signs with for a client. The server creates keys for an algorithm before the first
 * client uses it.
 */
import {
  isMlDsa,
  RESPONSE_ALG_MEMBERS,
  RESPONSE_ALGS,
  SIGNING_ALGS,
  type MlDsaAlg,
  type SigningAlg,
} from '../base/signing_algs.ts';
import { invalid } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';
import { keepSigningKeys } from '../keys/unused_keys.ts';

/** Returns the known algorithms in a client's metadata or patch. The schema refuses unknown ones. */
export function signingAlgsOf(metadata: Readonly<Record<string, unknown>>): SigningAlg[] {
  return RESPONSE_ALG_MEMBERS.map((member) => metadata[member] as SigningAlg).filter((alg) =>
    SIGNING_ALGS.includes(alg),
  );
}

/**
 * Throws `Refused` for an algorithm without a key, or that does not sign for clients; a client that has such a one from
 * an earlier release may keep it. An admin call creates the keys first; a client that registers itself must use an
 * existing algorithm, so that it cannot make the key set grow.
 */
export async function requireSigningKeys(
  tx: Tx,
  metadata: Readonly<Record<string, unknown>>,
  before: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const refused = RESPONSE_ALG_MEMBERS.find(
    (member) => isMlDsa(metadata[member]) && metadata[member] !== before[member],
  );
  if (refused) throw invalid(`/${refused}`, `must be one of ${RESPONSE_ALGS.join(', ')}`);
  const missing = await keepSigningKeys(tx, signingAlgsOf(metadata));
  const unsigned = RESPONSE_ALG_MEMBERS.find((member) => missing.has(metadata[member] as SigningAlg));
  if (unsigned) throw invalid(`/${unsigned}`, 'names an algorithm for which this server has no key');
}

/** The algorithms that the client keeps from an earlier release, and that no longer sign for clients. */
export function outdatedAlgsOf(metadata: Readonly<Record<string, unknown>>): readonly (readonly [string, MlDsaAlg])[] {
  return RESPONSE_ALG_MEMBERS.flatMap((member) => {
    const alg = metadata[member];
    return isMlDsa(alg) ? [[member, alg] as const] : [];
  });
}
