/**
 * Codes and refresh tokens traded for tokens (RFC 6749, 4.1.3 and 6) on a lean path (front.ts), in the plain case:
 * a token for one API, bound to nothing, with no claims asked for one by one and nothing in detail. Everything about it
 * is read in one statement and checked, the tokens are made, and only then the code or refresh token is used up, in the
 * statement that stores its successor: until then nothing has happened, and the ordinary path may begin anew.
 */
import { randomBytes } from 'node:crypto';
import type { AdapterPayload } from 'oidc-provider';
import type { Account } from '../../accounts/account.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import { addSeconds, epochSeconds } from '../../base/clock.ts';
import { equalInConstantTime, sha256 } from '../../base/secret.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { Subjects } from '../../clients/subject.ts';
import type { Database } from '../../db/connection.ts';
import type { RequestContext } from '../../http/request_context.ts';
import type { KeyRing } from '../../keys/key_ring.ts';
import type { Signer } from '../../keys/signer.ts';
import { grantReference } from '../artifacts.ts';
import { claimsUnder } from '../claims.ts';
import { tokenIssued } from '../notes.ts';
import type { RefreshFamilies } from '../refresh_families.ts';
import { splitScope, type Entitlement, type ResourcePolicy } from '../resource_policy.ts';
import { readTokenRow, useUp, type Related, type Successor, type TokenRow } from '../token_rows.ts';
import { originOf } from './front.ts';
import type { LeanCodeRequest, LeanPersonRequest } from './request.ts';

export interface LeanPersonTokensSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly policy: ResourcePolicy;
  readonly ring: KeyRing;
  readonly subjects: Subjects;
  readonly families: RefreshFamilies;
  readonly trail: AuditTrail;
  readonly idTokenTtlSeconds: number;
  readonly refreshTtlSeconds: number;
}

/** What a code or refresh token may have about it here. Whatever else is stored with one says something to heed. */
const UNDERSTOOD = new Set([
  'kind',
  'iat',
  'exp',
  'iiat',
  'clientId',
  'accountId',
  'grantId',
  'gty',
  'scope',
  'resource',
  'nonce',
  'sid',
  'sessionUid',
  'expiresWithSession',
  'acr',
  'amr',
  'authTime',
  'rotations',
  'redirectUri',
  'codeChallenge',
  'codeChallengeMethod',
]);
const UNDERSTOOD_OF_GRANT = new Set(['kind', 'iat', 'exp', 'clientId', 'accountId', 'openid', 'resources']);

/** What was granted, looked at from every side: it is alive, it is this client's, and nothing about it is unusual. */
interface Source {
  readonly payload: AdapterPayload & { readonly grantId: string; readonly accountId: string };
  readonly account: Account;
  readonly scopes: readonly string[];
  /** Of OpenID Connect, that the person has granted. */
  readonly openid: readonly string[];
  readonly resource: string;
  /** Of the resource, that the person has granted and this token may carry. */
  readonly resourceScopes: readonly string[];
}

export class LeanPersonTokens {
  readonly #settings: LeanPersonTokensSettings;

  constructor(settings: LeanPersonTokensSettings) {
    this.#settings = settings;
  }

  async answer(
    client: ClientWithSecrets,
    asked: LeanPersonRequest,
    context: RequestContext,
  ): Promise<string | undefined> {
    const { database, policy, ring, families, refreshTtlSeconds } = this.#settings;
    const { now } = context;
    const used = asked.grantType === 'refresh_token' ? asked.refreshToken : asked.code;
    const kind = asked.grantType === 'refresh_token' ? 'RefreshToken' : 'AuthorizationCode';
    const id = sha256(used);
    const row = await readTokenRow(database, kind, id);
    const source = row && plainSource(row, client.clientId, now);
    if (!source || (asked.grantType === 'authorization_code' && !isAnsweredBy(source, asked))) return undefined;
    const entitlement = policy.granted(client, source.resource, source.resourceScopes);
    const signer = entitlement && ring.signer(entitlement.resource.signingAlg);
    const idTokenSigner = ring.signer(client.metadata.id_token_signed_response_alg ?? 'RS256');
    if (!signer || !idTokenSigner) return undefined;

    const accessToken = await this.#accessToken(signer, client, source, entitlement, now);
    const withIdToken = source.scopes.includes('openid');
    const idToken = withIdToken ? await this.#idToken(idTokenSigner, client, source, now) : undefined;
    const refreshToken = client.metadata.grant_types.includes('refresh_token')
      ? families.mark(randomId(), source.payload.grantId, epochSeconds(now) + refreshTtlSeconds)
      : undefined;
    const successor = refreshToken === undefined ? undefined : this.#successor(refreshToken, source, now);
    const grantId = sha256(source.payload.grantId);
    const keptUntil = kind === 'RefreshToken' ? families.keptUntil(used, now) : undefined;
    if (!(await useUp(database, { kind, id, grantId, keptUntil }, successor, now))) return undefined;

    await this.#record(client, asked, context, { source, entitlement, accessToken, successor });
    return JSON.stringify({
      access_token: accessToken.value,
      expires_in: entitlement.resource.accessTokenTtlSeconds,
      id_token: idToken,
      refresh_token: refreshToken,
      scope: entitlement.scope,
      token_type: 'Bearer',
    });
  }

  async #accessToken(
    signer: Signer,
    client: ClientWithSecrets,
    { payload: { acr, amr, authTime, grantId, accountId } }: Source,
    { resource, scope }: Entitlement,
    now: Date,
  ): Promise<AccessToken> {
    const { issuer, subjects } = this.#settings;
    const iat = epochSeconds(now);
    const exp = iat + resource.accessTokenTtlSeconds;
    const jti = randomId();
    const value = await signer.sign('at+jwt', {
      acr,
      amr,
      auth_time: authTime,
      gen: client.tokenGeneration,
      gid: grantReference(grantId),
      jti,
      sub: subjects(accountId, client),
      iat,
      exp,
      scope,
      client_id: client.clientId,
      iss: issuer,
      aud: resource.identifier,
    });
    return { value, jti, exp };
  }

  #idToken(
    signer: Signer,
    client: ClientWithSecrets,
    { payload, account, openid }: Source,
    now: Date,
  ): string | Promise<string> {
    const { issuer, subjects, idTokenTtlSeconds } = this.#settings;
    const { acr, amr, authTime, nonce, sid, accountId } = payload;
    const iat = epochSeconds(now);
    return signer.sign(undefined, {
      ...claimsUnder(openid, account),
      acr,
      amr,
      auth_time: authTime,
      sub: subjects(accountId, client),
      nonce,
      sid,
      aud: client.clientId,
      exp: iat + idTokenTtlSeconds,
      iat,
      iss: issuer,
    });
  }

  /** Whatever a refresh token carries on, with its own times and its place in the row of those before. */
  #successor(refreshToken: string, { payload }: Source, now: Date): Successor {
    const { redirectUri: _, codeChallenge: __, codeChallengeMethod: ___, gty, rotations, iiat, ...kept } = payload;
    const { refreshTtlSeconds } = this.#settings;
    const iat = epochSeconds(now);
    const follows = payload.kind === 'RefreshToken';
    return {
      id: sha256(refreshToken),
      expiresAt: addSeconds(now, refreshTtlSeconds),
      payload: {
        ...kept,
        kind: 'RefreshToken',
        iat,
        exp: iat + refreshTtlSeconds,
        iiat: follows ? iiat : iat,
        gty: follows ? `${String(gty).replace(/ refresh_token$/, '')} refresh_token` : 'authorization_code',
        rotations: follows ? (rotations ?? 0) + 1 : 0,
      },
    };
  }

  #record(
    { clientId, tokenGeneration }: ClientWithSecrets,
    { grantType }: LeanPersonRequest,
    context: RequestContext,
    { source, entitlement: { resource, scope }, accessToken, successor }: Issued,
  ): Promise<void> {
    const event = tokenIssued({
      clientId,
      accountId: source.account.accountId,
      details: {
        grant_type: grantType,
        resource: resource.identifier,
        scope,
        jti: accessToken.jti,
        expires_in_seconds: resource.accessTokenTtlSeconds,
        expires_at: new Date(accessToken.exp * 1000).toISOString(),
        generation: tokenGeneration,
        with_refresh_token: successor !== undefined,
        grant_id: grantReference(source.payload.grantId),
      },
    });
    return this.#settings.trail.record(originOf(clientId, context), event);
  }
}

interface AccessToken {
  readonly value: string;
  readonly jti: string;
  readonly exp: number;
}

interface Issued {
  readonly source: Source;
  readonly entitlement: Entitlement;
  readonly accessToken: AccessToken;
  readonly successor: Successor | undefined;
}

interface Granted extends AdapterPayload {
  readonly openid?: { readonly scope?: string };
  readonly resources?: Readonly<Record<string, string>>;
}

/** `undefined` for whatever is refused, and for whatever has more about it than is known here. */
function plainSource({ payload, consumed_at, ...related }: TokenRow, clientId: string, now: Date): Source | undefined {
  const token = payload as AdapterPayload;
  const { grant, account } = related;
  const { resource, accountId, grantId } = token;
  if (consumed_at || !hasOnly(token, UNDERSTOOD) || !lives(token, now) || token.clientId !== clientId) return undefined;
  if (!account || account.disabledAt || account.accountId !== accountId || grantId === undefined) return undefined;
  if (!grant || !hasOnly(grant.payload, UNDERSTOOD_OF_GRANT) || !lives(grant.payload, now)) return undefined;
  if (grant.payload.clientId !== clientId || grant.payload.accountId !== accountId) return undefined;
  if (token.expiresWithSession && !isOfSession(token, related, now)) return undefined;
  if (typeof resource !== 'string') return undefined;
  const scopes = splitScope(token.scope);
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

/** A token that ends with its session: that one goes on, of the same person and with the same grant. */
function isOfSession({ accountId, clientId, grantId }: AdapterPayload, { session }: Related, now: Date): boolean {
  if (!session || !lives(session.payload, now) || session.payload.accountId !== accountId) return false;
  return session.payload.authorizations?.[clientId!]?.grantId === grantId;
}

/** RFC 7636, 4.6; and the redirect URI is the one of the request (RFC 6749, 4.1.3). */
function isAnsweredBy({ payload }: Source, { redirectUri, codeVerifier }: LeanCodeRequest): boolean {
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

function randomId(): string {
  return randomBytes(32).toString('base64url');
}
