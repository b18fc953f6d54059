/**
 * A password in one form. Keyboards send an accented letter as one character or as two, depending on the system, so
 * passwords are hashed in normalization form C (NIST SP 800-63B-4, 3.1.1.2).
 */
import type { Argon2id } from '../password_hashing/argon2id.ts';

/** In characters, which are code points (NIST SP 800-63B-4, 3.1.1.2). */
export const PASSWORD_LENGTH = { least: 12, most: 256 } as const;

/** The characters of the password as it is hashed, however it was typed. */
export function lengthOf(password: string): number {
  return Array.from(composed(password)).length;
}

export function composed(password: string): string {
  return password.normalize('NFC');
}

export function hashPassword(argon2id: Argon2id, password: string): Promise<string> {
  return argon2id.hash(composed(password));
}
