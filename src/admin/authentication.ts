/** Who makes an admin call: the client that a token was issued to, and what it may do here and now. */
import type { Context } from 'koa';
import { Refused } from '../base/refusal.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { AccessTokenClaims } from '../keys/token_verifier.ts';
import { adminResourceIdentifier } from './scopes.ts';

export interface Caller {
  readonly clientId: string;
  /** Those that the token carries and the client still has: a scope that was taken away is gone at once. */
  readonly scopes: ReadonlySet<string>;
  /** How it sent its token. */
  readonly scheme: Scheme;
}

export type Scheme = 'Bearer' | 'DPoP';

export interface Authentication {
  readonly issuer: string;
  readonly clients: ClientDirectory;
  /** Answers only for a token of ours that is unexpired, and not revoked as far as any node knows. */
  readonly inspectToken: (token: string, now: Date) => Promise<AccessTokenClaims | undefined>;
  /** Says why a token was not sent by the client that it is bound to (RFC 9449, RFC 8705), or nothing. */
  readonly checkSender: (
    ctx: Context,
    presented: { readonly scheme: Scheme; readonly token: string; readonly cnf: AccessTokenClaims['cnf'] },
  ) => Promise<{ readonly error: string; readonly description: string } | undefined>;
  /** What DPoP proofs may be signed with here. */
  readonly dpopAlgs: readonly string[];
}

const CREDENTIALS = /^(Bearer|DPoP) +([A-Za-z0-9\-._~+/]+=*)$/i;

/** Takes a token from the Authorization header and from nowhere else (RFC 6750, 2.1). */
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
  if (header === '') throw unauthorized(ctx, challenge(), 'Send an access token as Authorization: Bearer or DPoP.');
  const [, named, token] = CREDENTIALS.exec(header) ?? [];
  const scheme: Scheme = named?.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer';
  const claims = token === undefined ? undefined : await inspectToken(token, now);
  const client = claims && (await clients.find(claims.client_id));
  if (token === undefined || !client || claims.aud !== audience) {
    // what exactly is wrong with a token is nothing that its holder needs to know
    const detail = 'This is not a valid access token for the admin API.';
    throw unauthorized(ctx, challenge(scheme, ', error="invalid_token"'), detail);
  }
  const refusal = await checkSender(ctx, { scheme, token, cnf: claims.cnf });
  if (refusal) {
    const { error, description } = refusal;
    const said = `, error="${error}", error_description="${description.replaceAll(/["\\]/g, '')}"`;
    throw unauthorized(ctx, challenge(scheme, said), `The access token was refused: ${description}.`);
  }
  refuseDelegated(claims);
  const has = client.metadata.resources.find((access) => access.resource === audience)?.scopes ?? [];
  const carried = new Set(claims.scope?.split(' '));
  return { clientId: client.clientId, scheme, scopes: new Set(has.filter((scope) => carried.has(scope))) };
}

/** Throws unless the token carries the scope; names it, so that a caller knows what to ask for. */
export function requireScope(ctx: Context, caller: Caller, scope: string): void {
  if (caller.scopes.has(scope)) return;
  ctx.set('WWW-Authenticate', `${caller.scheme} error="insufficient_scope", scope="${scope}"`);
  throw new Refused({
    reason: 'forbidden',
    detail: `This call needs a token with the scope ${scope}, and a client that has it.`,
    requiredScope: scope,
  });
}

/**
 * Rights to administer belong to clients. A token that a person's login gave has that person as its subject, and would
 * make an admin of everyone who can log in.
 */
function refuseDelegated(claims: AccessTokenClaims): void {
  if (claims.sub === claims.client_id && claims.gid === undefined && claims.parents === undefined) return;
  throw new Refused({
    reason: 'forbidden',
    detail: 'Admin calls are made by clients on their own behalf: use the client_credentials grant.',
  });
}

function unauthorized(ctx: Context, challenge: string[], detail: string): Refused {
  ctx.set('WWW-Authenticate', challenge);
  return new Refused({ reason: 'unauthorized', detail });
}
