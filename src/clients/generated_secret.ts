/**
 * Generates client secrets: `gatehouse_secret_`, 256 random bits, and a checksum. With the prefix, scanners find leaked
 * secrets; with the checksum, typing errors and guesses fail before any lookup or hash.
 */
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { base62, base62OfUint32 } from '../base/ids.ts';
import { Secret } from '../base/secret.ts';

const SECRET_PREFIX = 'gatehouse_secret_';
const RANDOM_LENGTH = 43;
const CHECKSUM_LENGTH = 6;
const SHAPE = new RegExp(`^${SECRET_PREFIX}[0-9A-Za-z]{${RANDOM_LENGTH + CHECKSUM_LENGTH}}$`);

export function makeSecret(): Secret {
  const random = base62(randomBytes(32));
  return new Secret(SECRET_PREFIX + random + checksum(random));
}

/** Whether the text has the form and checksum of a generated secret. */
export function looksGenerated(text: string): boolean {
  if (!SHAPE.test(text)) return false;
  const random = text.slice(SECRET_PREFIX.length, -CHECKSUM_LENGTH);
  return text.endsWith(checksum(random));
}

/** Returns the first characters, enough for a person to tell secrets apart and useless otherwise. */
export function hintOf(secret: Secret): string {
  return `${secret.reveal().slice(0, SECRET_PREFIX.length + 4)}…`;
}

function checksum(random: string): string {
  return base62OfUint32(crc32(SECRET_PREFIX + random));
}
