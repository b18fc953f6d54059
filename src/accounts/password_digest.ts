/** Names the password of an account, to notice later whether it is still the same one. */
import { sha256 } from '../base/secret.ts';
import type { Account } from './account.ts';

/** The hash has a random salt of 128 bits, so the digest tells nothing about the password. */
export function passwordDigest({ passwordHash }: Pick<Account, 'passwordHash'>): string {
  return sha256(`the password hash ${passwordHash}`).toString('base64url');
}
