/** How long a password may be, and how its characters are counted, wherever one is set or typed. */

/** In characters as `lengthOf` counts them. */
export const LONGEST_PASSWORD = 256;

/** Each code point of normalization form C, in which passwords are hashed, counts as one (NIST SP 800-63B-4, 3.1.1.2). */
export function lengthOf(password: string): number {
  return Array.from(password.normalize('NFC')).length;
}
