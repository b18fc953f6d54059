/** Random values of tokens and token ids. */
import { randomFillSync } from 'node:crypto';

const VALUE_BYTES = 32;
/** Asking the system for random bytes costs as much as making twenty values, so they are asked for together. */
const VALUES = 128;

const pool = Buffer.alloc(VALUES * VALUE_BYTES);
let used = pool.length;

/** Returns 256 random bits in base64url. The bytes are wiped, so that memory has no copy of a value that was given out. */
export function randomTokenValue(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const end = used + VALUE_BYTES;
  const value = pool.toString('base64url', used, end);
  pool.fill(0, used, end);
  used = end;
  return value;
}
