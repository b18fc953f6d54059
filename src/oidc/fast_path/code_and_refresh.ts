/**
 * Codes and refresh tokens traded for tokens (RFC 6749, 4.1.3 and 6) on a lean path (fast_path.ts), in the plain case:
 * a token for one API, bound to nothing, with no claims asked for one by one and nothing in detail. Everything about it
 * is read in one statement and checked, the tokens are made, and only then the code or refresh token is used up, in the
 * statement that stores its successor and the audit entry: until then nothing has happened, and the ordinary path may
 * begin anew.
 */
import { randomBytes } from 'node:crypto';
import type { Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import { addSeconds, epochSeconds } from '../../base/clock.ts';
import { sha256 } from '../../base/secret.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { Subjects } from '../../clients/subject.ts';
import type { Database, Tx } from '../../db/connection.ts';
import type { RequestContext } from '../../http/request_context.ts';
import type { KeyRing } from '../../keys/key_ring.ts';
import type { Signer } from '../../keys/signer.ts';
import { grantReference } from '../storage/grant_reference.ts';
import { claimsUnder } from '../authorization/claims.ts';
import { tokenIssued } from '../request/request_events.ts';
import type { RefreshTokenFamilies } from '../storage/refresh_token_families.ts';
import type { Entitlement, ResourcePolicy } from '../tokens/resource_policy.ts';
import { readTokenRow, takeBackToken, takeBackUse, useUp, type Successor, type Unused } from '../storage/token_rows.ts';
import { mayBeCommitted, type UnansweredUses } from '../request/unanswered_uses.ts';
import { originOf } from './fast_path.ts';
import type { PlainPersonRequest } from './plain_request.ts';
import { isAnsweredBy, plainGrant, type PlainGrant } from './plain_grant.ts';

export interface CodeAndRefreshSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly policy: ResourcePolicy;
  readonly ring: KeyRing;
  readonly subjects: Subjects;
  readonly families: RefreshTokenFamilies;
  readonly trail: AuditTrail;
  readonly unanswered: UnansweredUses;
  readonly idTokenTtlSeconds: number;
  readonly refreshTtlSeconds: number;
  readonly sessionAbsoluteTtlSeconds: number;
}

export class CodeAndRefresh {
  readonly #settings: CodeAndRefreshSettings;

  constructor(settings: CodeAndRefreshSettings) {
    this.#settings = settings;
  }

  async answer(
    client: ClientWithSecrets,
    asked: PlainPersonRequest,
    context: RequestContext,
  ): Promise<string | undefined> {
    const { database, policy, ring, families, refreshTtlSeconds } = this.#settings;
    const { now } = context;
    const used = asked.grantType === 'refresh_token' ? asked.refreshToken : asked.code;
    const kind = asked.grantType === 'refresh_token' ? 'RefreshToken' : 'AuthorizationCode';
    const id = sha256(used);
    const row = await readTokenRow(database, kind, id);
    const source = row && plainGrant(row, client.clientId, now, this.#settings.sessionAbsoluteTtlSeconds);
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
    const event = this.#issued(client, asked, { source, entitlement, accessToken, successor });
    const use = { kind, id, grantId, keptUntil };
    if (!(await this.#use(use, successor, originOf(client.clientId, context), event, now))) return undefined;
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
    { payload: { acr, amr, authTime, grantId, accountId } }: PlainGrant,
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
    { payload, account, openid }: PlainGrant,
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
  #successor(refreshToken: string, { payload }: PlainGrant, now: Date): Successor {
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

  /** The use, the successor and the record are one statement. */
  async #use(
    use: Unused,
    successor: Successor | undefined,
    origin: Origin,
    event: ReturnType<typeof tokenIssued>,
    now: Date,
  ): Promise<boolean> {
    const { database, trail, unanswered } = this.#settings;
    try {
      return await trail.recordWith(origin, [event], (record) => useUp(database, record, use, successor, now));
    } catch (error) {
      if (mayBeCommitted(error)) {
        const takeBacks = [
          (tx: Tx) => takeBackUse(tx, use, now),
          ...(successor ? [(tx: Tx) => takeBackToken(tx, { kind: 'RefreshToken', id: successor.id })] : []),
        ];
        const { clientId, accountId, details } = event;
        const about = { clientId, accountId, details: { grant_type: details.grant_type } };
        const undelivered = { event: 'token.undelivered', outcome: 'refused', ...about } as const;
        await unanswered.takeBack({ origin, event: undelivered, takeBacks });
      }
      throw error;
    }
  }

  #issued(
    { clientId, tokenGeneration }: ClientWithSecrets,
    { grantType }: PlainPersonRequest,
    { source, entitlement: { resource, scope }, accessToken, successor }: Issued,
  ): ReturnType<typeof tokenIssued> {
    return tokenIssued({
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
  }
}

interface AccessToken {
  readonly value: string;
  readonly jti: string;
  readonly exp: number;
}

interface Issued {
  readonly source: PlainGrant;
  readonly entitlement: Entitlement;
  readonly accessToken: AccessToken;
  readonly successor: Successor | undefined;
}

function randomId(): string {
  return randomBytes(32).toString('base64url');
}
