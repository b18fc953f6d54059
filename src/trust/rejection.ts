/** Why a statement does not count, in words for the developer who sent it. */
import type { Distrust } from './statement_verifier.ts';

const WORDS: Readonly<Record<Distrust, string>> = {
  too_large: 'it is too large',
  malformed: 'it is not a signed JWT',
  header_refused: 'its header has members that are not understood here',
  typ_refused: 'its typ says that it is another kind of token',
  issuer_unknown: 'its issuer is not trusted for this',
  issuer_disabled: 'its issuer is not trusted for this',
  purpose_refused: 'its issuer is not trusted for this',
  alg_refused: 'its alg is not one that the issuer signs with',
  keys_unavailable: 'the keys of its issuer can not be read now',
  key_unknown: 'its issuer has no key, or several, for its kid and alg',
  signature_invalid: 'its signature is not valid',
  audience_refused: 'aud must be the issuer identifier of this server alone',
  expired: 'it has expired',
  lifetime_refused: 'exp is too far ahead',
  not_yet_valid: 'nbf or iat is ahead of our clock',
  claims_invalid: 'exp must be a time, and nbf and iat where they are given',
};

export function explainRejection(reason: Distrust): string {
  return WORDS[reason];
}
