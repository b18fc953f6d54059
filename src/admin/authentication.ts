/** Authenticates the caller of the admin API: the client that the access token was issued to, and its admin scopes. */
import type { Context } from 'koa';
import { toErrorDescription } from '../base/error_description.ts';
import { Refused } from '../base/refusal.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { AccessTokenClaims } from '../keys/token_verifier.ts';
import { adminResourceIdentifier } from './scopes.ts';

export interface Caller {
  readonly clientId: string;
  /**
   * The scopes that the token carries and the client still has: withdrawing a scope from the client takes effect at
   * once.
   */
  readonly scopes: ReadonlySet<string>;
  /** The authentication scheme of the Authorization header. */
  readonly scheme: Scheme;
}

export type Scheme = 'Bearer' | 'DPoP';

export interface Authentication {
  readonly issuer: string;
  readonly clients: ClientDirectory;
  /**
   * Returns the claims of an access token of this server; `undefined` if the token is invalid, expired or known to be
   * revoked.
   */
  readonly inspectToken: (token: string, now: Date) => Promise<AccessTokenClaims | undefined>;
  /**
   * Returns an error if the request does not prove possession of the key or certificate that the token is bound to (RFC
   * 9449, RFC 8705).
   */
  readonly checkSender: (
    ctx: Context,
    presented: { readonly scheme: Scheme; readonly token: string; readonly cnf: AccessTokenClaims['cnf'] },
  ) => Promise<{ readonly error: string; readonly description: string } | undefined>;
  /** The signing algorithms that this server accepts in DPoP proofs. */
  readonly dpopAlgs: readonly string[];
}

const CREDENTIALS = /^(Bearer|DPoP) +([A-Za-z0-9\-._~+/]+=*)$/i;

/**
 * Authenticates the caller with the access token in the Authorization header, the only place where the admin API
 * accepts one (RFC 6750, 2.1).
 */
export async function authenticate(
  ctx: Context,
  { issuer, clients, inspectToken, checkSender, dpopAlgs }: Authentication,
  now: Date,
): Promise<Caller> {
  const audience = adminResourceIdentifier(issuer);
  const challenge = (scheme?: Scheme, error = ''): string[] => [
    `Bearer realm="${audience}"${scheme === 'Bearer' ? error : ''}`,
    `DPoP realm="${audience}"${scheme === 'DPoP' ? error : ''}, algs="${dpopAlgs.join(' ')}"`,
  ];
  const header = ctx.get('Authorization');
  if (header === '')
    throw unauthorized(
      ctx,
      challenge(),
      'Send an access token in the Authorization header with the scheme Bearer or DPoP.',
    );
  const [, named, token] = CREDENTIALS.exec(header) ?? [];
  const scheme: Scheme = named?.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer';
  const claims = token === undefined ? undefined : await inspectToken(token, now);
  const client = claims && (await clients.find(claims.client_id));
  if (token === undefined || !client || claims.aud !== audience) {
    // the response does not say why the token is invalid: a legitimate client does not need that information
    const detail = 'The access token is not valid for the admin API.';
    throw unauthorized(ctx, challenge(scheme, ', error="invalid_token"'), detail);
  }
  const refusal = await checkSender(ctx, { scheme, token, cnf: claims.cnf });
  if (refusal) {
    const { error, description } = refusal;
    const said = `, error="${error}", error_description="${toErrorDescription(description)}"`;
    throw unauthorized(ctx, challenge(scheme, said), `The access token was refused: ${description}.`);
  }
  refuseDelegated(claims);
  const has = client.metadata.resources.find((access) => access.resource === audience)?.scopes ?? [];
  const carried = new Set(claims.scope?.split(' '));
  return { clientId: client.clientId, scheme, scopes: new Set(has.filter((scope) => carried.has(scope))) };
}

/**
 * Throws unless the caller has the scope. The challenge names the scope, so that the client knows what to request (RFC
 * 6750, 3).
 */
export function requireScope(ctx: Context, caller: Caller, scope: string): void {
  if (caller.scopes.has(scope)) return;
  ctx.set('WWW-Authenticate', `${caller.scheme} error="insufficient_scope", scope="${scope}"`);
  throw new Refused({
    reason: 'forbidden',
    detail: `The client and its token must both have the scope ${scope}.`,
    requiredScope: scope,
  });
}

/**
 * Only clients may administer. A token that was issued through a person's login has that person as its subject;
 * accepting it would make every person who can log in an admin.
 */
function refuseDelegated(claims: AccessTokenClaims): void {
  if (claims.sub === claims.client_id && claims.gid === undefined && claims.parents === undefined) return;
  throw new Refused({
    reason: 'forbidden',
    detail: 'A client must call the admin API on its own behalf: use the client_credentials grant.',
  });
}

function unauthorized(ctx: Context, challenge: string[], detail: string): Refused {
  ctx.set('WWW-Authenticate', challenge);
  return new Refused({ reason: 'unauthorized', detail });
}
