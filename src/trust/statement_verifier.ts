/**
 * Verifies statements (JWTs) that trusted issuers signed: assertions about subjects (RFC 7523, RFC 8693) and software
 * statements (RFC 7591, 2.3). Keys come only from what an admin registered; keys and URLs in the header (`jwk`, `jku`,
 * `x5u`, `x5c`) are never used.
 */
import {
  compactVerify,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type ProtectedHeaderParameters,
} from 'jose';
import { jwtType } from '../base/jwt_type.ts';
import { DAY_SECONDS, epochSeconds } from '../base/clock.ts';
import { Unavailable } from '../base/unavailable.ts';
import type { IssuerDirectory, KeySet, KnownIssuer } from './issuer_directory.ts';
import type { Purpose, TrustedIssuer } from './trusted_issuer.ts';

export interface Demand {
  readonly purpose: Purpose;
  /** The only permitted value of `aud`. A software statement may omit `aud`. */
  readonly audience: string;
  readonly now: Date;
}

/** Why a statement is rejected, for the audit trail and for the developer who sent it. */
export type RejectionReason =
  | 'too_large'
  | 'malformed'
  | 'header_refused'
  | 'typ_refused'
  | 'issuer_unknown'
  | 'issuer_disabled'
  | 'purpose_refused'
  | 'alg_refused'
  | 'keys_unavailable'
  | 'key_unknown'
  | 'signature_invalid'
  | 'audience_refused'
  | 'expired'
  | 'lifetime_refused'
  | 'not_yet_valid'
  | 'claims_invalid';

export type Verdict =
  | { readonly trusted: true; readonly issuer: TrustedIssuer; readonly claims: StatementClaims }
  | { readonly trusted: false; readonly reason: RejectionReason };

export interface StatementClaims extends JWTPayload {
  readonly iss: string;
  readonly exp: number;
}

const LONGEST_STATEMENT_CHARACTERS = 16_384;
/** Tolerance for an issuer's clock that is ahead. There is no tolerance for expiry. */
const AHEAD_SECONDS = 30;

interface Rules {
  /** In lower case and without `application/` (RFC 7515, 4.1.9); a header without `typ` is accepted. */
  readonly types: readonly string[];
  readonly audienceRequired: boolean;
  /** The maximum distance of `exp` from now. */
  readonly longestSeconds: number;
}

const SOFTWARE_STATEMENT = 'software-statement+jwt';

/** A token of another kind has its own `typ` (`at+jwt`, `logout+jwt`, `secevent+jwt`, …) and is refused. */
const RULES: Readonly<Record<Purpose, Rules>> = {
  jwt_bearer: { types: ['jwt'], audienceRequired: true, longestSeconds: 3_600 },
  token_exchange: { types: ['jwt'], audienceRequired: true, longestSeconds: DAY_SECONDS },
  software_statement: {
    types: ['jwt', SOFTWARE_STATEMENT],
    audienceRequired: false,
    longestSeconds: 366 * DAY_SECONDS,
  },
};

export class StatementVerifier {
  readonly #directory: IssuerDirectory;

  constructor(directory: IssuerDirectory) {
    this.#directory = directory;
  }

  async verify(jwt: string, demand: Demand): Promise<Verdict> {
    if (jwt.length > LONGEST_STATEMENT_CHARACTERS) return refused('too_large');
    const parsed = parse(jwt);
    if (!parsed) return refused('malformed');
    const { header, claims } = parsed;
    const known = typeof claims.iss === 'string' ? this.#directory.get(claims.iss) : undefined;
    if (!known) return refused('issuer_unknown');
    const reason =
      checkIssuer(known.trusted, demand.purpose) ??
      checkHeader(header, known.trusted, demand.purpose) ??
      (await checkSignature(jwt, known, demand.now)) ??
      checkClaims(claims, demand);
    if (reason) return refused(reason);
    return { trusted: true, issuer: known.trusted, claims: claims as StatementClaims };
  }
}

function parse(jwt: string): { header: ProtectedHeaderParameters; claims: JWTPayload } | undefined {
  try {
    return { header: decodeProtectedHeader(jwt), claims: decodeJwt(jwt) };
  } catch {
    return undefined;
  }
}

function checkIssuer({ disabledAt, purposes }: TrustedIssuer, purpose: Purpose): RejectionReason | undefined {
  if (disabledAt) return 'issuer_disabled';
  return purposes.includes(purpose) ? undefined : 'purpose_refused';
}

function checkHeader(
  { alg, crit, typ }: ProtectedHeaderParameters,
  { algs, purposes }: TrustedIssuer,
  purpose: Purpose,
): RejectionReason | undefined {
  if (!algs.some((allowed) => allowed === alg)) return 'alg_refused';
  // the server supports no extension
  if (crit !== undefined) return 'header_refused';
  if (typ !== undefined && typeof typ !== 'string') return 'header_refused';
  const type = jwtType(typ);
  // an issuer that also signs assertions about people must set `typ` (RFC 8725, 3.11), because people hold those
  // assertions
  if (purpose === 'software_statement' && purposes.length > 1 && type !== SOFTWARE_STATEMENT) return 'typ_refused';
  if (type === undefined) return undefined;
  return RULES[purpose].types.includes(type) ? undefined : 'typ_refused';
}

async function checkSignature(
  jwt: string,
  { trusted, keys }: KnownIssuer,
  now: Date,
): Promise<RejectionReason | undefined> {
  const current = await keys.current(now);
  // the statement may be valid; its sender has to retry
  if (!current && keys.areUnavailable(now))
    throw new Unavailable(`The keys of ${trusted.issuer} can't be fetched at the moment.`);
  if (!current) return 'keys_unavailable';
  const objection = await checkWithKeys(current, jwt, trusted);
  if (!objection) return undefined;
  const newer = await keys.newer(now);
  return newer ? checkWithKeys(newer, jwt, trusted) : objection;
}

/** If several keys match, the header's `kid` must select one; keys are not tried one by one. */
async function checkWithKeys(keys: KeySet, jwt: string, { algs }: TrustedIssuer): Promise<RejectionReason | undefined> {
  try {
    await compactVerify(jwt, keys, { algorithms: [...algs] });
    return undefined;
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
      return 'key_unknown';
    }
    if (error instanceof errors.JOSEError || error instanceof TypeError) return 'signature_invalid';
    throw error;
  }
}

function checkClaims(claims: JWTPayload, { purpose, audience, now }: Demand): RejectionReason | undefined {
  const { aud, exp, nbf, iat } = claims as Readonly<Record<string, unknown>>;
  const { audienceRequired, longestSeconds } = RULES[purpose];
  const seconds = epochSeconds(now);
  if (!isTime(exp) || ![nbf, iat].every((time) => time === undefined || isTime(time))) return 'claims_invalid';
  // an issued token expires on a whole second, and must not outlive the statement
  if (Math.floor(exp) <= seconds) return 'expired';
  if (exp > seconds + longestSeconds) return 'lifetime_refused';
  if ([nbf, iat].some((time) => isTime(time) && time > seconds + AHEAD_SECONDS)) return 'not_yet_valid';
  if (aud === undefined) return audienceRequired ? 'audience_refused' : undefined;
  const audiences = [aud].flat();
  return audiences.length === 1 && audiences[0] === audience ? undefined : 'audience_refused';
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function refused(reason: RejectionReason): Verdict {
  return { trusted: false, reason };
}
