/**
 * Exchanges codes and refresh tokens for tokens (RFC 6749, 4.1.3 and 6) on the fast path (fast_path.ts). It handles the
 * plain case: a token for one API, not bound to a key, without the `claims` parameter and without authorization
 * details. One statement reads all data about the code or refresh token. Then the tokens are made. The last statement
 * uses up the code or refresh token and stores its successor and the audit entry. Before that statement nothing is
 * changed, so the library can still handle the request from the beginning.
 */
import { addSeconds } from '../../base/clock.ts';
import { sha256 } from '../../base/secret.ts';
import { randomTokenValue } from '../../base/token_value.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { Subjects } from '../../clients/subject.ts';
import type { RequestContext } from '../../http/request_context.ts';
import type { KeyRing } from '../../keys/key_ring.ts';
import type { Signer } from '../../keys/signer.ts';
import type { DemandedContexts } from '../authorization/demanded_context.ts';
import { accessTokenClaims } from '../issuance/access_token.ts';
import { idTokenClaims, idTokenScopes } from '../issuance/id_token.ts';
import { validityFrom } from '../issuance/issuance.ts';
import { givenBy, mappedClaims, mappingsOf } from '../issuance/person_claims.ts';
import { getsRefreshToken, successorPayload } from '../issuance/refresh_token.ts';
import type { Entitlement } from '../issuance/scope_decision.ts';
import { tokenIssued } from '../issuance/token_issued.ts';
import type { RefreshTokenFamilies } from '../storage/refresh_token_families.ts';
import { useOnRecord, type RecordedUseSettings } from '../storage/recorded_use.ts';
import { readTokenRow, type Successor } from '../storage/token_rows.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { originOfRequest } from './fast_path.ts';
import { isAnsweredBy, plainGrant, type PlainGrant } from './plain_grant.ts';
import type { PlainPersonRequest } from './plain_request.ts';

export interface CodeAndRefreshSettings extends RecordedUseSettings {
  readonly issuer: string;
  readonly policy: ResourcePolicy;
  readonly demandedContexts: DemandedContexts;
  readonly ring: KeyRing;
  readonly subjects: Subjects;
  readonly families: RefreshTokenFamilies;
  readonly roles: RoleDirectory;
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
    const { database, policy, ring, families, roles, refreshTtlSeconds } = this.#settings;
    const { clientId, metadata } = client;
    const { used } = asked;
    const { now } = context;
    const kind = asked.grantType === 'refresh_token' ? 'RefreshToken' : 'AuthorizationCode';
    const id = sha256(used);
    const row = await readTokenRow(database, { kind, id, withGroups: roles.hasGroups });
    const source = row && plainGrant(row, client, now, this.#settings);
    if (!source || (asked.answer && !isAnsweredBy(source, asked.answer))) return undefined;
    if (!this.#isLoginStrongEnough(client, source)) return undefined;
    const entitlement = policy.granted(client, source.resource, source);
    const signer = entitlement && ring.signer(entitlement.resource.signingAlg);
    const idTokenSigner = ring.signer(metadata.id_token_signed_response_alg ?? 'RS256');
    if (!signer || !idTokenSigner) return undefined;

    const claims = this.#accessTokenClaims(client, source, entitlement, now);
    const accessToken = await signer.sign('at+jwt', claims);
    const idToken = source.scopes.includes('openid')
      ? await this.#idToken(idTokenSigner, client, source, now)
      : undefined;
    const refreshToken = getsRefreshToken(metadata, source.payload.scope)
      ? families.mark(randomTokenValue(), source.payload.grantId, validityFrom(now, refreshTtlSeconds).exp)
      : undefined;
    const successor = refreshToken === undefined ? undefined : this.#successor(refreshToken, source, now);
    const event = tokenIssued({
      clientId,
      accountId: source.account.accountId,
      grantType: asked.grantType,
      grantId: source.payload.grantId,
      resource: entitlement.resource.identifier,
      withUserinfo: entitlement.audience !== entitlement.resource.identifier,
      scope: entitlement.scope,
      expiresInSeconds: entitlement.lifetimeSeconds,
      claims,
      withRefreshToken: successor !== undefined,
    });
    const keptUntil = kind === 'RefreshToken' ? families.keptUntil(used, now) : undefined;
    const use = { kind, id, grantId: sha256(source.payload.grantId), keptUntil };
    const origin = originOfRequest(clientId, context);
    if (!(await useOnRecord(this.#settings, { use, successor, origin, event }, now))) return undefined;
    return JSON.stringify({
      access_token: accessToken,
      expires_in: entitlement.lifetimeSeconds,
      id_token: idToken,
      refresh_token: refreshToken,
      scope: entitlement.scope,
      token_type: 'Bearer',
    });
  }

  /** Whether the login is as strong as an admin requires by now; the library makes the refusal. */
  #isLoginStrongEnough({ metadata }: ClientWithSecrets, { payload, resource, memberships }: PlainGrant): boolean {
    const subject = { client: metadata, memberships, resources: [resource] };
    return this.#settings.demandedContexts.areSatisfied(payload.amr, subject);
  }

  #accessTokenClaims(client: ClientWithSecrets, source: PlainGrant, entitlement: Entitlement, now: Date) {
    const { issuer, subjects, roles } = this.#settings;
    const { payload, openid } = source;
    const { iat, exp } = validityFrom(now, entitlement.lifetimeSeconds);
    return accessTokenClaims({
      issuer,
      client,
      jti: randomTokenValue(),
      sub: subjects(payload.accountId, client),
      iat,
      exp,
      audience: entitlement.audience,
      scope: entitlement.scope,
      grantId: payload.grantId,
      login: payload,
      added: mappedClaims(entitlement.resource.claimMappings, source, roles, { gets: givenBy(openid), isToken: true }),
    });
  }

  #idToken(signer: Signer, client: ClientWithSecrets, source: PlainGrant, now: Date): string | Promise<string> {
    const { payload, account } = source;
    const scopes = idTokenScopes(client.metadata, source.openid);
    const { issuer, subjects, roles, idTokenTtlSeconds } = this.#settings;
    const { clientId, metadata } = client;
    const mappings = metadata.id_token_claims === 'minimal' ? [] : mappingsOf(metadata);
    const added = mappedClaims(mappings, source, roles, { gets: givenBy(scopes), isToken: true });
    const sub = subjects(payload.accountId, client);
    const { iat, exp } = validityFrom(now, idTokenTtlSeconds);
    const facts = { issuer, clientId, sub, account, scopes, login: payload, added, iat, exp };
    return signer.sign(undefined, idTokenClaims(facts));
  }

  #successor(refreshToken: string, { payload }: PlainGrant, now: Date): Successor {
    const { refreshTtlSeconds } = this.#settings;
    return {
      id: sha256(refreshToken),
      expiresAt: addSeconds(now, refreshTtlSeconds),
      payload: successorPayload(payload, validityFrom(now, refreshTtlSeconds)),
    };
  }
}
