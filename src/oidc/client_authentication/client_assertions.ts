/** Checks of client assertions (RFC 7523, 3) beyond the library's. */
import { errors, type Client, type KoaContextWithOIDC, type Provider } from 'oidc-provider';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import { isFapi2, isFapi2Alg } from '../../clients/metadata/security_profile.ts';
import { internalsOf } from '../provider/library_types.ts';
import { ROUTES } from '../request/routes.ts';
import { recordOf } from './provider_clients.ts';

/** The server stores the jti until the assertion expires, and a leaked assertion can be used until then. */
const LONGEST_ASSERTION_SECONDS = 3_600;
/** A client's clock may be a few seconds ahead, but not more than a minute (FAPI 2.0, 5.3.2.1). */
const FURTHEST_AHEAD_SECONDS = 60;

/**
 * Endpoints whose specifications demand that the server takes their URL and that of the token endpoint as the audience
 * (RFC 9126, 2; CIBA, 7.1).
 */
const TAKE_ENDPOINTS: ReadonlySet<string> = new Set(['pushed_authorization_request', 'backchannel_authentication']);

type Claims = Readonly<Record<string, unknown>>;

export interface AssertionSettings {
  readonly issuer: string;
  readonly clock: Clock;
  /** The endpoints' second URLs, for clients with a certificate (`mtls_endpoint_aliases`). */
  readonly aliases: Readonly<Record<string, string>> | undefined;
}

/**
 * Makes the library leave `aud` to `demandAssertion`, which it calls after it has verified the signature: the client
 * then learns what is wrong.
 */
export function leaveAudienceToUs(provider: Provider): void {
  internalsOf(provider).OIDCContext.prototype.clientJwtAuthExpectedAudience = () => ({ has: () => true });
}

/** Returns a check of an assertion that the client has signed. It throws `invalid_client` and says why. */
export function demandAssertion(settings: AssertionSettings) {
  const { clock } = settings;
  return ({ oidc }: KoaContextWithOIDC, { aud, exp, iat, jti }: Claims, header: Claims, client: Client): void => {
    const { metadata } = recordOf(client);
    if (isFapi2(metadata) && !isFapi2Alg(header['alg']))
      refuse(`alg ${String(header['alg'])} is not permitted for clients with profile fapi2`);
    demandAudience(settings, aud, oidc.route, metadata);
    if (iat !== undefined && !(Number(iat) <= epochSeconds(clock()) + FURTHEST_AHEAD_SECONDS))
      refuse('iat must not be in the future');
    if (typeof jti !== 'string') refuse('jti must be a string');
    if (typeof exp !== 'number' || exp > epochSeconds(clock()) + LONGEST_ASSERTION_SECONDS) {
      refuse(`exp must be at most ${LONGEST_ASSERTION_SECONDS} s in the future`);
    }
  };
}

/**
 * By default the issuer is the only audience. An assertion for an endpoint's URL, or for a second server, may have been
 * made for another server, which could then use it here (CVE-2025-27371). An admin or a registration policy may let a
 * client name the token endpoint or the called endpoint too (`assertion_audience`), but not a client with the profile
 * fapi2 (FAPI 2.0, 5.3.2.1). A list of one value means the same as the value (RFC 7519, 4.1.3), and libraries in Go write
 * no other form; only a client that may name endpoints may send several accepted values.
 */
function demandAudience(
  { issuer, aliases = {} }: AssertionSettings,
  aud: unknown,
  route: string,
  metadata: ClientMetadata,
): void {
  const strict = isFapi2(metadata);
  const endpoints = ['token', route].flatMap((name) => urlsOf(name, issuer, aliases));
  const takesEndpoints = !strict && (metadata.assertion_audience === 'endpoints' || TAKE_ENDPOINTS.has(route));
  const accepted = takesEndpoints ? [issuer, ...endpoints] : [issuer];
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  const wanted = `send ${issuer}, the issuer, as one string`;
  if (Array.isArray(aud) && strict) refuse(`aud must be a string, not a list; ${wanted}`);
  const mayBeSeveral = metadata.assertion_audience === 'endpoints' && new Set(audiences).size === audiences.length;
  const isCounted = audiences.length === 1 || (audiences.length > 1 && mayBeSeveral);
  if (isCounted && audiences.every((one) => accepted.some((value) => value === one))) return;
  if (audiences.length !== 1) refuse(`aud must be one value; ${wanted}`);
  const [audience] = audiences;
  if (!strict && endpoints.some((url) => url === audience))
    refuse(
      `aud must be the issuer, not an endpoint; ${wanted}, or ask an admin to set assertion_audience to endpoints`,
    );
  refuse(`aud must be the issuer; ${wanted}`);
}

function urlsOf(route: string, issuer: string, aliases: Readonly<Record<string, string>>): string[] {
  const path = (ROUTES as Readonly<Record<string, string>>)[route];
  return [path && `${issuer}${path}`, aliases[`${route}_endpoint`]].filter((url) => url !== undefined);
}

/** The client has proved who it is, so the answer may say more than the library's. */
function refuse(reason: string): never {
  const error = new errors.InvalidClientAuth(reason);
  error.error_description = `client authentication failed: ${reason}`;
  throw error;
}
