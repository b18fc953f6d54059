/** What a client asks this server to sign with. An algorithm gets its keys before the first client that names it. */
import { ALWAYS_SIGNING_ALGS, SIGNING_ALGS, type SigningAlg } from '../base/signing_algs.ts';
import { invalid } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';

const MEMBERS = [
  'id_token_signed_response_alg',
  'userinfo_signed_response_alg',
  'introspection_signed_response_alg',
  'authorization_signed_response_alg',
] as const;

/** The algorithms that a client's metadata, or a change of it, names. What is none is for its schema to refuse. */
export function signingAlgsOf(metadata: Readonly<Record<string, unknown>>): SigningAlg[] {
  return MEMBERS.map((member) => metadata[member] as SigningAlg).filter((alg) => SIGNING_ALGS.includes(alg));
}

/**
 * Refuses what nothing could be signed with. An admin's call makes the keys first; a client that registers itself takes
 * an algorithm that is in use, so that nobody can make the key set grow from outside.
 */
export async function refuseWithoutKey(tx: Tx, metadata: Readonly<Record<string, unknown>>): Promise<void> {
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
      throw invalid(`/${member}`, 'names an algorithm that this server has no key for');
  }
}
