/**
 * Authenticates the caller of the admin API: the client that the access token was issued to, the person behind it if
 * there is one, and the admin scopes.
 */
import type { Context } from 'koa';
import { toErrorDescription } from '../base/error_description.ts';
import { Refused } from '../base/refusal.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { AccessTokenClaims } from '../keys/token_verifier.ts';
import { adminResourceIdentifier } from './scopes.ts';

export interface Caller {
  readonly clientId: string;
  /** The person who logged in, if the client does not act on its own behalf. */
  readonly accountId: string | undefined;
  /**
   * The scopes that the token carries, and that the client and the person still have: withdrawing a scope or a role takes
   * effect at once.
   */
  readonly scopes: ReadonlySet<string>;
  /** The authentication scheme of the Authorization header. */
  readonly scheme: Scheme;
}

export type Scheme = 'Bearer' | 'DPoP';

interface Examined {
  readonly claims: AccessTokenClaims;
  readonly granter?: { readonly accountId: string } | undefined;
}

export interface Authentication {
  readonly issuer: string;
  readonly clients: ClientDirectory;
  /**
   * Returns the claims of an access token of this server and the person who granted it; `undefined` if the token is
   * invalid, expired or known to be revoked. The scope is what the person's roles permit now.
   */
  readonly examineToken: (token: string, now: Date) => Promise<Examined | undefined>;
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
  { issuer, clients, examineToken, checkSender, dpopAlgs }: Authentication,
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
  const examined = token === undefined ? undefined : await examineToken(token, now);
  const claims = examined?.claims;
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
  const accountId = personBehind(examined);
  const has = client.metadata.resources.find((access) => access.resource === audience)?.scopes ?? [];
  const carried = new Set(claims.scope?.split(' '));
  return { clientId: client.clientId, accountId, scheme, scopes: new Set(has.filter((scope) => carried.has(scope))) };
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
    detail: caller.accountId
      ? `The client, its token and a role of the person must all have the scope ${scope}.`
      : `The client and its token must both have the scope ${scope}.`,
    requiredScope: scope,
  });
}

/**
 * Returns the person who logged in at the client; `undefined` for a client that acts on its own behalf. A token that was
 * made from another token or from an assertion is refused: only a login here proves who administers.
 */
function personBehind({ claims, granter }: Examined): string | undefined {
  const { sub, client_id, gid, parents, act, asserted_by, sub_id } = claims;
  const isTraded = [parents, act, asserted_by, sub_id].some((claim) => claim !== undefined);
  if (!isTraded && sub === client_id && gid === undefined) return undefined;
  if (!isTraded && granter) return granter.accountId;
  throw new Refused({
    reason: 'forbidden',
    detail:
      'The admin API takes no exchanged token: use the client_credentials grant, or a login of a person with a role.',
  });
}

function unauthorized(ctx: Context, challenge: string[], detail: string): Refused {
  ctx.set('WWW-Authenticate', challenge);
  return new Refused({ reason: 'unauthorized', detail });
}
