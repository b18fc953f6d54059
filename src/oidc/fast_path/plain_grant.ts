/** What a code or refresh token was granted for, if the fast path understands all of it. */
import type { AdapterPayload } from 'oidc-provider';
import type { Account } from '../../accounts/account.ts';
import { epochSeconds } from '../../base/clock.ts';
import { equalInConstantTime, sha256 } from '../../base/secret.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { splitScope, stillRegistered } from '../issuance/scope_decision.ts';
import { lostOfflineAccess } from '../issuance/refresh_token.ts';
import { isYoungEnough } from '../storage/session_store.ts';
import type { Related, TokenRow } from '../storage/token_rows.ts';
import type { CodeAnswer } from './plain_request.ts';

/** The members that the fast path knows. Any other has a meaning that it must not ignore. */
const OF_EACH = ['kind', 'iat', 'exp', 'clientId', 'accountId'];
const OF_LOGIN = ['acr', 'amr', 'authTime', 'nonce', 'sid', 'sessionUid', 'expiresWithSession'];
const OF_CODE = ['redirectUri', 'codeChallenge', 'codeChallengeMethod'];
const OF_TOKEN = ['iiat', 'grantId', 'gty', 'scope', 'resource', 'rotations'];
const UNDERSTOOD = new Set([...OF_EACH, ...OF_LOGIN, ...OF_CODE, ...OF_TOKEN]);
const UNDERSTOOD_OF_GRANT = new Set([...OF_EACH, 'openid', 'resources']);

/** A code or refresh token that is alive and this client's, with its grant, and with nothing unusual about them. */
export interface PlainGrant {
  readonly payload: AdapterPayload & { readonly grantId: string; readonly accountId: string };
  readonly account: Account;
  /** Without scopes of OpenID Connect that were taken from the client. */
  readonly scopes: readonly string[];
  /** Of OpenID Connect, that the person has granted. */
  readonly openid: readonly string[];
  readonly resource: string;
  /** Of the resource, that the person has granted and this token may carry. */
  readonly resourceScopes: readonly string[];
}

interface Granted extends AdapterPayload {
  readonly openid?: { readonly scope?: string };
  readonly resources?: Readonly<Record<string, string>>;
}

/** `undefined` for everything that is to be refused, and for everything that has a member which the fast path does not know. */
export function plainGrant(
  { payload, consumed_at, ...related }: TokenRow,
  { clientId, metadata }: ClientWithSecrets,
  now: Date,
  sessionAbsoluteTtlSeconds: number,
): PlainGrant | undefined {
  const token = payload as AdapterPayload;
  const { grant, account } = related;
  const { resource, accountId, grantId } = token;
  if (consumed_at || !hasOnly(token, UNDERSTOOD) || !lives(token, now) || token.clientId !== clientId) return undefined;
  if (!account || account.disabledAt || account.accountId !== accountId || grantId === undefined) return undefined;
  if (!grant || !hasOnly(grant.payload, UNDERSTOOD_OF_GRANT) || !lives(grant.payload, now)) return undefined;
  if (grant.payload.clientId !== clientId || grant.payload.accountId !== accountId) return undefined;
  if (token.expiresWithSession) {
    if (!isOfSession(token, related, now)) return undefined;
    if (!isYoungEnough(related.session!.payload, sessionAbsoluteTtlSeconds, now)) return undefined;
  }
  if (typeof resource !== 'string') return undefined;
  if (token.kind === 'RefreshToken' && lostOfflineAccess(metadata, token.scope)) return undefined;
  const scopes = stillRegistered(metadata, splitScope(token.scope));
  const wanted = new Set(scopes);
  const granted = grant.payload as Granted;
  const ofWanted = (scope: string | undefined) => splitScope(scope).filter((name) => wanted.has(name));
  return {
    payload: { ...token, accountId, grantId },
    account,
    scopes,
    openid: ofWanted(granted.openid?.scope),
    resource,
    resourceScopes: ofWanted(granted.resources?.[resource]),
  };
}

/** For a token that ends with its session: the session lives, and is of the same person and the same grant. */
function isOfSession({ accountId, clientId, grantId }: AdapterPayload, { session }: Related, now: Date): boolean {
  if (!session || !lives(session.payload, now) || session.payload.accountId !== accountId) return false;
  return session.payload.authorizations?.[clientId!]?.grantId === grantId;
}

/** The verifier fits (RFC 7636, 4.6), and the redirect URI is that of the authorization request (RFC 6749, 4.1.3). */
export function isAnsweredBy({ payload }: PlainGrant, { redirectUri, codeVerifier }: CodeAnswer): boolean {
  const { codeChallenge, codeChallengeMethod } = payload;
  if (payload.redirectUri !== redirectUri || codeChallengeMethod !== 'S256' || !codeChallenge) return false;
  return equalInConstantTime(Buffer.from(sha256(codeVerifier).toString('base64url')), Buffer.from(codeChallenge));
}

function hasOnly(payload: object, members: ReadonlySet<string>): boolean {
  return Object.keys(payload).every((member) => members.has(member));
}

function lives({ exp }: AdapterPayload, now: Date): boolean {
  return typeof exp === 'number' && exp > epochSeconds(now);
}
