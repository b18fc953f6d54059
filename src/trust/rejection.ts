/** Explains to the developer who sent a statement why it was rejected. */
import type { RejectionReason } from './statement_verifier.ts';

const WORDS: Readonly<Record<RejectionReason, string>> = {
  too_large: 'it is too large',
  malformed: 'it is not a signed JWT',
  header_refused: 'its header has unsupported members',
  typ_refused: 'its typ is that of another kind of token',
  issuer_unknown: 'its issuer is not trusted for this purpose',
  issuer_disabled: 'its issuer is not trusted for this purpose',
  purpose_refused: 'its issuer is not trusted for this purpose',
  alg_refused: 'its alg is not registered for the issuer',
  keys_unavailable: 'the keys of its issuer can not be fetched at the moment',
  key_unknown: 'its kid and alg must match exactly one key of the issuer',
  signature_invalid: 'its signature is not valid',
  audience_refused: 'aud must be the issuer identifier of this server only',
  expired: 'it has expired',
  lifetime_refused: 'exp is too far in the future',
  not_yet_valid: 'nbf and iat must not be in the future',
  claims_invalid: 'exp, and nbf and iat if present, must be numbers',
};

export function explainRejection(reason: RejectionReason): string {
  return WORDS[reason];
}
