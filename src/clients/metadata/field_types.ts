/** Value types that several metadata members share. */
import { z } from 'zod';
import { isLoopback } from '../../base/loopback.ts';
import { ONE_OF_SIGNING_ALGS, SIGNING_ALGS } from '../../base/signing_algs.ts';

/**
 * Algorithms that clients sign assertions and request objects with. RFC 9864 renames EdDSA to Ed25519; clients may use
 * either name.
 */
export const CLIENT_ALGS = ['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA'] as const;
export const clientAlg = z.enum(CLIENT_ALGS, 'must be ES256, RS256, PS256, Ed25519 or EdDSA');
/** An algorithm that this server signs with. */
export const serverAlg = z.enum(SIGNING_ALGS, ONE_OF_SIGNING_ALGS);

/**
 * Excludes control and format characters, line and paragraph separators, and filler characters that are letters but
 * invisible.
 */
const VISIBLE = /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\u034F\u115F\u1160\u17B4\u17B5\u2800\u3164\uFFA0]*$/u;

export const text = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .regex(VISIBLE, 'must not contain control or invisible characters');

export const httpsUrl = z
  .string()
  .max(2_000, 'must not be longer than 2000 characters')
  .refine((value) => URL.parse(value)?.protocol === 'https:' && !URL.parse(value)?.username, 'must be an https URL');

/**
 * An https URL, or http on loopback, by address or as `localhost`. The operator decides whether the server sends requests
 * there (see egress/).
 */
export const keysUrl = z
  .string()
  .max(2_000, 'must not be longer than 2000 characters')
  .refine((value) => {
    const url = URL.parse(value);
    if (!url || url.username || url.password) return false;
    return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname));
  }, 'must be an https URL');
