/** The two tokens of registration: 256 random bits behind a prefix that tells scanners and people which one was found. */
import { randomBytes } from 'node:crypto';
import { base62 } from '../base/ids.ts';
import { Secret } from '../base/secret.ts';

export function makeInitialAccessToken(): Secret {
  return new Secret(`gatehouse_initial_${base62(randomBytes(32))}`);
}

export function makeRegistrationAccessToken(): Secret {
  return new Secret(`gatehouse_registration_${base62(randomBytes(32))}`);
}
