/** A secret for a client, made ready before the transaction that stores it: made here, or brought by an operator and hashed. */
import { z } from 'zod';
import { makeSecret } from '../clients/server_made_secret.ts';
import type { SecretCheck } from '../clients/secrets.ts';
import type { AdminCall } from './call.ts';

/** Chosen by an operator, as when clients move here from another server. */
export const BroughtSecret = z
  .string()
  .regex(/^[\x20-\x7e]*$/, 'must be made of visible ASCII characters and spaces (RFC 6749, A.2)')
  .min(32, 'must have at least 32 characters')
  .max(256, 'must not be longer than 256 characters')
  .describe('A secret of your own. Left out, the server makes one and shows it once.');

export const ExpiresInSeconds = z
  .int('must be a whole number of seconds')
  .min(60, 'must be at least 60 seconds')
  .max(5 * 31_536_000, 'must be at most five years (157680000)')
  .describe('When the secret ends. Left out, it lives until it is ended.');

export interface PreparedSecret {
  readonly check: SecretCheck;
  /** To be shown, this once; nothing where the operator knows it already. */
  readonly shown: { readonly client_secret?: string };
}

export async function prepareSecret(
  { dependencies, now }: AdminCall,
  brought: string | undefined,
): Promise<PreparedSecret> {
  if (brought !== undefined) return { check: { argon2id: await dependencies.argon2id.hash(brought) }, shown: {} };
  const value = makeSecret();
  return {
    check: { pepper: await dependencies.vault.current('pepper', now), value },
    shown: { client_secret: value.reveal() },
  };
}
