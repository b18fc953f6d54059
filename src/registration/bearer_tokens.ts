/**
 * Generates the two bearer tokens of registration: a prefix that identifies the kind of token to secret scanners and
 * people, and 256 random bits.
 */
import { randomBytes } from 'node:crypto';
import { base62 } from '../base/ids.ts';
import { Secret } from '../base/secret.ts';

export function makeInitialAccessToken(): Secret {
  return new Secret(`gatehouse_initial_${base62(randomBytes(32))}`);
}

export function makeRegistrationAccessToken(): Secret {
  return new Secret(`gatehouse_registration_${base62(randomBytes(32))}`);
}
