/**
 * The algorithms that the server signs with for a client. The server creates keys for an algorithm before the first
 * client uses it.
 */
import { ALWAYS_SIGNING_ALGS, SIGNING_ALGS, type SigningAlg } from '../base/signing_algs.ts';
import { invalid } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';

const MEMBERS = [
  'id_token_signed_response_alg',
  'userinfo_signed_response_alg',
  'introspection_signed_response_alg',
  'authorization_signed_response_alg',
] as const;

/** Returns the known algorithms in a client's metadata or patch. The schema refuses unknown ones. */
export function signingAlgsOf(metadata: Readonly<Record<string, unknown>>): SigningAlg[] {
  return MEMBERS.map((member) => metadata[member] as SigningAlg).filter((alg) => SIGNING_ALGS.includes(alg));
}

/**
 * Throws `Refused` for an algorithm without a key. An admin call creates the keys first; a client that registers itself
 * must use an existing algorithm, so that it cannot make the key set grow.
 */
export async function requireSigningKeys(tx: Tx, metadata: Readonly<Record<string, unknown>>): Promise<void> {
  const wanted = signingAlgsOf(metadata).filter((alg) => !ALWAYS_SIGNING_ALGS.includes(alg));
  if (wanted.length === 0) return;
  const rows = await tx
    .selectFrom('signing_keys')
    .select('alg')
    .where('status', '=', 'current')
    .where('alg', 'in', wanted)
    .execute();
  const present = new Set<unknown>(rows.map(({ alg }) => alg));
  for (const member of MEMBERS) {
    const alg = metadata[member];
    if (wanted.includes(alg as SigningAlg) && !present.has(alg))
      throw invalid(`/${member}`, 'names an algorithm for which this server has no key');
  }
}
