/** Value types that several metadata members share. */
import { z } from 'zod';
import { isLoopback } from '../../base/loopback.ts';
import { ONE_OF_SIGNING_ALGS, SIGNING_ALGS } from '../../base/signing_algs.ts';
import { INVISIBLE_REFUSED, isVisible } from '../../base/visible_text.ts';

/**
 * Algorithms that clients sign assertions and request objects with. RFC 9864 renames EdDSA to Ed25519; clients may use
 * either name.
 */
export const CLIENT_ALGS = ['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA'] as const;
export const clientAlg = z.enum(CLIENT_ALGS, 'must be ES256, RS256, PS256, Ed25519 or EdDSA');
/** An algorithm that this server signs with. */
export const serverAlg = z.enum(SIGNING_ALGS, ONE_OF_SIGNING_ALGS);

/** Text that many people read. It has no private-use characters: each font shows another picture for them. */
export const text = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .refine(isVisible, INVISIBLE_REFUSED)
    .regex(/^\P{Co}*$/u, 'must not contain private-use characters');

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
