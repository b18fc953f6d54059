/** Reads the grant of a code or refresh token, if the fast path supports all members of both. */
import type { AdapterPayload } from 'oidc-provider';
import type { Account } from '../../accounts/account.ts';
import { epochSeconds } from '../../base/clock.ts';
import { equalInConstantTime, sha256 } from '../../base/secret.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { lostOfflineAccess } from '../issuance/refresh_token.ts';
import { splitScope, stillRegistered } from '../issuance/scope_values.ts';
import { readAudience, type GrantedScopes } from '../issuance/userinfo_audience.ts';
import { isYoungEnough } from '../storage/session_times.ts';
import { isAllowedToUse } from '../../roles/allowed_groups.ts';
import type { Memberships } from '../../roles/memberships.ts';
import type { Related, TokenRow } from '../storage/token_rows.ts';
import type { CodeAnswer } from './plain_request.ts';

/** The supported members. Each other member has a meaning that the fast path must not ignore. */
const COMMON_MEMBERS = ['kind', 'iat', 'exp', 'clientId', 'accountId'];
const LOGIN_MEMBERS = ['acr', 'amr', 'authTime', 'nonce', 'sid', 'sessionUid', 'expiresWithSession'];
const CODE_MEMBERS = ['redirectUri', 'codeChallenge', 'codeChallengeMethod'];
const TOKEN_MEMBERS = ['iiat', 'grantId', 'gty', 'scope', 'resource', 'rotations'];
const SUPPORTED_IN_TOKEN = new Set([...COMMON_MEMBERS, ...LOGIN_MEMBERS, ...CODE_MEMBERS, ...TOKEN_MEMBERS]);
const SUPPORTED_IN_GRANT = new Set([...COMMON_MEMBERS, 'openid', 'resources']);

/** An unexpired, unused code or refresh token of this client, with its grant; both have supported members only. */
export interface PlainGrant {
  readonly payload: AdapterPayload & { readonly grantId: string; readonly accountId: string };
  readonly account: Account;
  readonly memberships: Memberships;
  /** Without scopes of OpenID Connect that were taken from the client. */
  readonly scopes: readonly string[];
  /** The requested scopes of OpenID Connect that the person has granted. */
  readonly openid: readonly string[];
  readonly resource: string;
  /** What the person has granted and this token may carry. */
  readonly granted: GrantedScopes;
}

export interface PlainGrantSettings {
  readonly issuer: string;
  readonly sessionAbsoluteTtlSeconds: number;
}

interface Granted extends AdapterPayload {
  readonly openid?: { readonly scope?: string };
  readonly resources?: Readonly<Record<string, string>>;
}

/**
 * Returns `undefined` if the library would refuse the token, or if the token or its grant has an unsupported member.
 */
export function plainGrant(
  { payload, consumed_at, ...related }: TokenRow,
  { clientId, metadata }: ClientWithSecrets,
  now: Date,
  { issuer, sessionAbsoluteTtlSeconds }: PlainGrantSettings,
): PlainGrant | undefined {
  const token = payload as AdapterPayload;
  const { grant, person } = related;
  const { accountId, grantId } = token;
  if (consumed_at || !hasOnly(token, SUPPORTED_IN_TOKEN) || !isUnexpired(token, now) || token.clientId !== clientId)
    return undefined;
  if (!person || grantId === undefined) return undefined;
  const { account, memberships } = person;
  if (account.disabledAt || account.accountId !== accountId || !isAllowedToUse(metadata, memberships)) return undefined;
  if (!grant || !hasOnly(grant.payload, SUPPORTED_IN_GRANT) || !isUnexpired(grant.payload, now)) return undefined;
  if (grant.payload.clientId !== clientId || grant.payload.accountId !== accountId) return undefined;
  if (token.expiresWithSession) {
    if (!belongsToSession(token, related, now)) return undefined;
    if (!isYoungEnough(related.session!.payload, sessionAbsoluteTtlSeconds, now)) return undefined;
  }
  const audience = readAudience(token.resource, issuer);
  if (!audience) return undefined;
  if (token.kind === 'RefreshToken' && lostOfflineAccess(metadata, token.scope)) return undefined;
  const { api: resource, withUserinfo } = audience;
  const scopes = stillRegistered(metadata, splitScope(token.scope));
  const requested = new Set(scopes);
  const granted = grant.payload as Granted;
  const requestedOnly = (scope: string | undefined) => splitScope(scope).filter((name) => requested.has(name));
  const openid = requestedOnly(granted.openid?.scope);
  const ofApi = requestedOnly(granted.resources?.[resource]);
  return {
    payload: { ...token, accountId, grantId },
    account,
    memberships,
    scopes,
    openid,
    resource,
    granted: { ofApi, forUserinfo: withUserinfo ? openid : [] },
  };
}

/** For a token that ends with its session: whether the session is unexpired and has the same person and grant. */
function belongsToSession({ accountId, clientId, grantId }: AdapterPayload, { session }: Related, now: Date): boolean {
  if (!session || !isUnexpired(session.payload, now) || session.payload.accountId !== accountId) return false;
  return session.payload.authorizations?.[clientId!]?.grantId === grantId;
}

/**
 * Whether the verifier matches the challenge (RFC 7636, 4.6), and the redirect URI equals that of the authorization
 * request (RFC 6749, 4.1.3).
 */
export function isAnsweredBy({ payload }: PlainGrant, { redirectUri, codeVerifier }: CodeAnswer): boolean {
  const { codeChallenge, codeChallengeMethod } = payload;
  if (payload.redirectUri !== redirectUri || codeChallengeMethod !== 'S256' || !codeChallenge) return false;
  return equalInConstantTime(Buffer.from(sha256(codeVerifier).toString('base64url')), Buffer.from(codeChallenge));
}

function hasOnly(payload: object, members: ReadonlySet<string>): boolean {
  return Object.keys(payload).every((member) => members.has(member));
}

function isUnexpired({ exp }: AdapterPayload, now: Date): boolean {
  return typeof exp === 'number' && exp > epochSeconds(now);
}
