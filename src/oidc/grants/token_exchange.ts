/**
 * Token exchange (RFC 8693). The new token is never wider than the presented one: the policy derives its scopes from
 * the presented token's, it does not expire later, and it is invalid as soon as the presented token is. A token that is
 * bound to a key is accepted only if the request proves that key.
 */
import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider';
import { TOKEN_EXCHANGE } from '../../clients/metadata/flows.ts';
import type { Database } from '../../db/connection.ts';
import {
  actThrough,
  choosePolicy,
  mayAct,
  permittedScopes,
  type SubjectSource,
} from '../../grant_policies/evaluate.ts';
import { isExternal, type Policy } from '../../grant_policies/policy.ts';
import { readPoliciesOf } from '../../grant_policies/policy_store.ts';
import { requestOf } from '../../http/request_context.ts';
import type { AccessTokenClaims, Act, ParentToken } from '../../keys/token_verifier.ts';
import type { Memberships } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { explainRejection } from '../../trust/rejection.ts';
import type { StatementClaims, StatementVerifier } from '../../trust/statement_verifier.ts';
import { membershipsBehind, type AccessTokenStates } from '../tokens/access_token_state.ts';
import type { Granter } from '../storage/grant_store.ts';
import { notesOf } from '../request/request_events.ts';
import { findExternalSubject, membershipsOfSubject } from './external_subject.ts';
import { assertedClaims, inheritedClaims, parentOf } from '../issuance/exchanged_claims.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { readAudience, scopeForApi } from '../issuance/userinfo_audience.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import { bindToSender, requireSameKey } from '../sender_constraint/sender_constraint.ts';
import {
  requirePolicy,
  draftToken,
  issueToken,
  refuseAuthorizationDetails,
  targetOf,
  type Exchange,
} from './exchanged_token.ts';

export interface TokenExchangeSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly tokens: AccessTokenStates;
  readonly statements: StatementVerifier;
  readonly policy: ResourcePolicy;
  readonly roles: RoleDirectory;
}

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';

const PARAMETERS = [
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'resource',
  'audience',
  'scope',
];

const LONGEST_NAME_CHARACTERS = 256;

/** Limits the size of a token: every exchange adds one parent, or two with an actor token. */
const MOST_PARENTS = 10;

/** Registers the grant at a provider; call it for each new provider. */
export function offerTokenExchange(provider: Provider, settings: TokenExchangeSettings): void {
  provider.registerGrantType(TOKEN_EXCHANGE, (ctx) => answer(ctx, settings), PARAMETERS, ['resource', 'audience']);
}

async function answer(ctx: KoaContextWithOIDC, settings: TokenExchangeSettings): Promise<void> {
  const request = readRequest(ctx);
  const { clientId } = ctx.oidc.client!;
  const policies = await readPoliciesOf(settings.database, 'token_exchange', clientId);
  if (policies.length === 0) throw new errors.UnauthorizedClient('no policy permits this client to exchange tokens');

  const presented = await verifySubjectToken(ctx, settings, request);
  const policy = requirePolicy(
    choosePolicy(policies, sourceOf(presented, settings.issuer), request.target),
    refuseSubject,
  );
  const actor = await actorOf(ctx, settings, request, policy);
  const mayActClaim = presented.claims['may_act'];
  if (!mayAct(mayActClaim, { sub: actor?.sub ?? clientId, iss: settings.issuer }))
    refuseSubject('its may_act claim names another actor');

  const subject = await subjectOf(settings, policy, presented);
  const act = actor ? actThrough(actor.sub, subject.act) : subject.act;
  const parents = [...subject.parents, ...(actor?.parent ? [actor.parent] : [])];
  if ((actor && !act) || parents.length > MOST_PARENTS) refuseSubject('it has been exchanged too many times');
  const draft = draftToken(ctx, settings.policy, {
    policy,
    permitted: permittedScopes(policy, subject.scopes),
    sub: subject.sub,
    accountId: subject.newGrantFor,
    memberships: subject.memberships,
    notAfter: Math.min(presented.claims.exp, actor?.exp ?? Infinity),
    claims: { ...subject.claims, ...(parents.length > 0 && { parents }), ...(act && { act }) },
  });
  const useProof = await bindToSender(ctx, draft.token);
  requireSameKey(presented.claims['cnf'], draft.token, refuseSubject);
  requireSameKey(actor?.cnf, draft.token, refuseActor);
  await useProof();
  notesOf(ctx).tokenSource = {
    accountId: subject.accountId,
    details: {
      policy_id: policy.policyId,
      subject: presented.claims.sub,
      issuer: presented.own ? undefined : presented.claims.iss,
      actor: actor?.sub,
      from_jti: jtiOf(presented.claims),
    },
  };
  const { access_token, ...rest } = await issueToken(ctx, draft);
  ctx.body = { access_token, issued_token_type: request.issuedTokenType, ...rest };
}

interface ExchangeRequest {
  readonly subjectToken: string;
  readonly subjectTokenType: string;
  readonly actorToken: string | undefined;
  readonly issuedTokenType: string;
  readonly target: string | undefined;
}

/** Reads and validates the parameters of RFC 8693 (2.1). The library has refused repeated ones. */
function readRequest(ctx: KoaContextWithOIDC): ExchangeRequest {
  const given = (ctx.oidc.params ?? {}) as Readonly<Record<string, string | undefined>>;
  const { subject_token: subjectToken, subject_token_type: subjectTokenType, actor_token: actorToken } = given;
  const { actor_token_type: actorTokenType, requested_token_type: issuedTokenType = ACCESS_TOKEN } = given;
  if (subjectToken === undefined) refuseMissing('subject_token');
  if (subjectTokenType === undefined) refuseMissing('subject_token_type');
  demandType('subject_token_type', subjectTokenType, [ACCESS_TOKEN, JWT]);
  if (actorToken !== undefined && actorTokenType === undefined) refuseMissing('actor_token_type');
  if (actorToken === undefined && actorTokenType !== undefined)
    throw new errors.InvalidRequest('actor_token_type requires actor_token');
  if (actorTokenType !== undefined) demandType('actor_token_type', actorTokenType, [ACCESS_TOKEN]);
  demandType('requested_token_type', issuedTokenType, [ACCESS_TOKEN, JWT]);
  refuseAuthorizationDetails(ctx);
  const target = targetOf([given['resource'], given['audience']]);
  return { subjectToken, subjectTokenType, actorToken, issuedTokenType, target };
}

type Presented =
  | { readonly own: true; readonly claims: AccessTokenClaims; readonly granter?: Granter | undefined }
  | { readonly own: false; readonly claims: StatementClaims };

async function verifySubjectToken(
  ctx: KoaContextWithOIDC,
  { tokens, statements, issuer: audience }: TokenExchangeSettings,
  { subjectToken, subjectTokenType }: ExchangeRequest,
): Promise<Presented> {
  const { now } = requestOf(ctx);
  if (subjectTokenType === ACCESS_TOKEN) {
    const examined = await tokens.examine(subjectToken, now);
    if (!examined) refuseSubject('it must be a valid access token of this server for an API');
    return { own: true, ...examined };
  }
  const verdict = await statements.verify(subjectToken, { purpose: 'token_exchange', audience, now });
  if (!verdict.trusted) refuseSubject(explainRejection(verdict.reason), verdict.reason);
  // the server knows neither for whom an external actor acts, nor what that actor is permitted to do
  if (verdict.claims['act'] !== undefined) refuseSubject('it must not have an act claim');
  return { own: false, claims: verdict.claims };
}

/** A token that is for userinfo too counts as one for its API. */
function sourceOf({ own, claims }: Presented, issuer: string): SubjectSource {
  if (!own) return { issuer: claims.iss };
  const audience = readAudience(claims.aud, issuer);
  return audience ? { resource: audience.api } : refuseSubject('it must be for one API');
}

interface Subject {
  /** The account id, from which the library makes the client's `sub`, or the name of a subject without an account. */
  readonly sub: string;
  readonly accountId: string | undefined;
  /** The groups of a person; `undefined` for a program. */
  readonly memberships: Memberships | undefined;
  /** The account to create a grant for; `undefined` if the presented token has a grant already. */
  readonly newGrantFor: string | undefined;
  /** `undefined` if the presented token has no scopes of this server. */
  readonly scopes: ReadonlySet<string> | undefined;
  readonly act: Act | undefined;
  readonly parents: readonly ParentToken[];
  readonly claims: Exchange['claims'];
}

async function subjectOf(
  { database, roles }: TokenExchangeSettings,
  policy: Policy,
  presented: Presented,
): Promise<Subject> {
  if (presented.own) return ownSubject(presented);
  if (!isExternal(policy.subject)) throw new Error('A policy for assertions must have an issuer.');
  const { claims } = presented;
  const subject = await findExternalSubject(database, policy.subject, claims);
  if ('refused' in subject) refuseSubject(subject.refused);
  const { sub, accountId } = subject;
  const copiedClaims = assertedClaims(claims.iss, subject);
  return {
    sub,
    accountId,
    memberships: await membershipsOfSubject(database, roles, accountId),
    newGrantFor: accountId,
    scopes: undefined,
    act: undefined,
    parents: [],
    claims: copiedClaims,
  };
}

/**
 * The new token belongs to the same grant as the presented one, and has the same claims about its subject. Its `sub` is
 * the one that the client of this request knows (OpenID Connect Core, 8.1), which may differ from the presented token's.
 */
function ownSubject({ claims, granter }: Extract<Presented, { own: true }>): Subject {
  const { scope, act, parents = [] } = claims;
  return {
    sub: granter?.accountId ?? claims.sub,
    accountId: granter?.accountId,
    memberships: membershipsBehind(claims, granter),
    newGrantFor: undefined,
    scopes: new Set(splitScope(scopeForApi(scope))),
    act,
    parents: [parentOf(claims), ...parents],
    claims: inheritedClaims(claims),
  };
}

interface Actor {
  readonly sub: string;
  readonly exp?: number;
  readonly cnf?: unknown;
  readonly parent?: ParentToken;
}

/**
 * The actor: the subject of the actor token, else the client itself; `undefined` if the policy is for impersonation.
 */
async function actorOf(
  ctx: KoaContextWithOIDC,
  { tokens }: TokenExchangeSettings,
  { actorToken }: ExchangeRequest,
  { mode }: Policy,
): Promise<Actor | undefined> {
  const { clientId } = ctx.oidc.client!;
  if (mode === 'impersonation') {
    if (actorToken === undefined) return undefined;
    throw new errors.InvalidRequest('the policy is for impersonation; omit actor_token');
  }
  if (actorToken === undefined) return { sub: clientId };
  const claims = await tokens.inspect(actorToken, requestOf(ctx).now);
  if (!claims) refuseActor('it must be a valid access token of this server for an API');
  // a token of another client does not identify the actor of this request
  if (claims.client_id !== clientId) refuseActor('it was issued to another client');
  if (claims.act || claims.parents) refuseActor('it must not have been exchanged itself');
  const { sub, exp, cnf, gid, asserted_by } = claims;
  const dependsOn = { ...(gid !== undefined && { gid }), ...(asserted_by !== undefined && { asserted_by }) };
  return { sub, exp, cnf, parent: { ...parentOf(claims), ...dependsOn } };
}

/** The `jti` for the audit trail. An assertion of an external issuer may have none, or a long one. */
function jtiOf({ jti }: { readonly jti?: unknown }): string | undefined {
  return typeof jti === 'string' ? jti.slice(0, LONGEST_NAME_CHARACTERS) : undefined;
}

function demandType(parameter: string, given: string, types: readonly string[]): void {
  if (types.includes(given)) return;
  throw new errors.InvalidRequest(`${parameter} must be ${types.join(' or ')}`);
}

function refuseMissing(parameter: string): never {
  throw new errors.InvalidRequest(`missing required parameter '${parameter}'`);
}

/** RFC 8693, 2.2.2: if a token is invalid or the policy does not accept it, the error is `invalid_request`. */
function refuseSubject(reason: string, detail = reason): never {
  throw new errors.InvalidRequest(`subject_token is refused: ${reason}`, undefined, {
    detail: `subject_token: ${detail}`,
  });
}

function refuseActor(reason: string): never {
  throw new errors.InvalidRequest(`actor_token is refused: ${reason}`, undefined, { detail: `actor_token: ${reason}` });
}
