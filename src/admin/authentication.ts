/** Who makes an admin call: the client that a bearer token was issued to, and what it may do here and now. */
import type { Context } from 'koa';
import { Refused } from '../base/refusal.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { AccessTokenClaims } from '../keys/token_verifier.ts';
import { adminResourceIdentifier } from './scopes.ts';

export interface Caller {
  readonly clientId: string;
  /** Those that the token carries and the client still has: a scope that was taken away is gone at once. */
  readonly scopes: ReadonlySet<string>;
}

export interface Authentication {
  readonly issuer: string;
  readonly clients: ClientDirectory;
  /** Answers only for a token of ours that is unexpired, and not revoked as far as any node knows. */
  readonly inspectToken: (token: string, now: Date) => Promise<AccessTokenClaims | undefined>;
}

const CREDENTIALS = /^Bearer +([A-Za-z0-9\-._~+/]+=*)$/i;

/** Takes a token from the Authorization header and from nowhere else (RFC 6750, 2.1). */
export async function authenticate(
  ctx: Context,
  { issuer, clients, inspectToken }: Authentication,
  now: Date,
): Promise<Caller> {
  const audience = adminResourceIdentifier(issuer);
  const realm = `Bearer realm="${audience}"`;
  const header = ctx.get('Authorization');
  if (header === '') throw unauthorized(ctx, realm, 'Send an access token as Authorization: Bearer.');
  const token = CREDENTIALS.exec(header)?.[1];
  const claims = token === undefined ? undefined : await inspectToken(token, now);
  const client = claims && (await clients.find(claims.client_id));
  if (!client || claims.aud !== audience || isBoundToKey(claims)) {
    // what exactly is wrong with a token is nothing that its holder needs to know
    throw unauthorized(ctx, `${realm}, error="invalid_token"`, 'This is not a valid access token for the admin API.');
  }
  refuseDelegated(claims);
  const has = client.metadata.resources.find((access) => access.resource === audience)?.scopes ?? [];
  const carried = new Set(claims.scope?.split(' '));
  return { clientId: client.clientId, scopes: new Set(has.filter((scope) => carried.has(scope))) };
}

/** Throws unless the token carries the scope; names it, so that a caller knows what to ask for. */
export function requireScope(ctx: Context, caller: Caller, scope: string): void {
  if (caller.scopes.has(scope)) return;
  ctx.set('WWW-Authenticate', `Bearer error="insufficient_scope", scope="${scope}"`);
  throw new Refused({
    reason: 'forbidden',
    detail: `This call needs a token with the scope ${scope}, and a client that has it.`,
    requiredScope: scope,
  });
}

/** A token with a confirmation (RFC 9449, 8705) is worth nothing as a plain bearer token. */
function isBoundToKey(claims: AccessTokenClaims): boolean {
  return claims.cnf !== undefined;
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

function unauthorized(ctx: Context, challenge: string, detail: string): Refused {
  ctx.set('WWW-Authenticate', challenge);
  return new Refused({ reason: 'unauthorized', detail });
}
