/**
 * Token exchange (RFC 8693): a token for another token. The new one is never wider than the one it was made from: its
 * scopes come from that one's by policy, it ends no later, and it is dead as soon as that one is. A token that is bound
 * to a key is taken only from whoever proves that key.
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
import { isOutside, type Policy } from '../../grant_policies/policy.ts';
import { readPoliciesOf } from '../../grant_policies/policy_store.ts';
import { requestOf } from '../../http/request_context.ts';
import type { AccessTokenClaims, Act, ParentToken } from '../../keys/token_verifier.ts';
import { explainRejection } from '../../trust/rejection.ts';
import type { StatementClaims, StatementVerifier } from '../../trust/statement_verifier.ts';
import type { AccessTokenStates } from '../tokens/access_token_state.ts';
import { notesOf } from '../request/request_events.ts';
import { findExternalSubject } from './external_subject.ts';
import { assertedClaims, inheritedClaims, parentOf } from '../issuance/exchanged_claims.ts';
import { splitScope } from '../issuance/scope_decision.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import { bindToSender, demandSameSender } from './sender_constraint.ts';
import {
  chosen,
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

/** Every exchange adds one, and a second one with an actor token: a bound on what a token carries around. */
const MOST_PARENTS = 10;

export function offerTokenExchange(provider: Provider, settings: TokenExchangeSettings): void {
  provider.registerGrantType(TOKEN_EXCHANGE, (ctx) => answer(ctx, settings), PARAMETERS, ['resource', 'audience']);
}

async function answer(ctx: KoaContextWithOIDC, settings: TokenExchangeSettings): Promise<void> {
  const request = readRequest(ctx);
  const { clientId } = ctx.oidc.client!;
  const policies = await readPoliciesOf(settings.database, 'token_exchange', clientId);
  if (policies.length === 0) throw new errors.UnauthorizedClient('no policy lets this client exchange tokens');

  const presented = await verifySubjectToken(ctx, settings, request);
  const policy = chosen(choosePolicy(policies, sourceOf(presented), request.target), refuseSubject);
  const actor = await actorOf(ctx, settings, request, policy);
  const may = presented.claims['may_act'];
  if (!mayAct(may, { sub: actor?.sub ?? clientId, iss: settings.issuer }))
    refuseSubject('its may_act names another actor');

  const subject = await subjectOf(settings, policy, presented);
  const act = actor ? actThrough(actor.sub, subject.act) : subject.act;
  const parents = [...subject.parents, ...(actor?.parent ? [actor.parent] : [])];
  if ((actor && !act) || parents.length > MOST_PARENTS) refuseSubject('it has been exchanged too many times');
  const draft = draftToken(ctx, settings.policy, {
    policy,
    permitted: permittedScopes(policy, subject.scopes),
    sub: subject.sub,
    accountId: subject.newGrantFor,
    notAfter: Math.min(presented.claims.exp, actor?.exp ?? Infinity),
    claims: { ...subject.claims, ...(parents.length > 0 && { parents }), ...(act && { act }) },
  });
  const useProof = await bindToSender(ctx, draft.token);
  demandSameSender(presented.claims['cnf'], draft.token, refuseSubject);
  demandSameSender(actor?.cnf, draft.token, refuseActor);
  await useProof();
  notesOf(ctx).trade = {
    accountId: subject.accountId,
    details: {
      policy_id: policy.policyId,
      subject: presented.claims.sub,
      issuer: presented.own ? undefined : presented.claims.iss,
      actor: actor?.sub,
      from_jti: namedBy(presented.claims),
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

/** The parameters of RFC 8693 (2.1), each as it must be; the library has refused those that came twice. */
function readRequest(ctx: KoaContextWithOIDC): ExchangeRequest {
  const given = (ctx.oidc.params ?? {}) as Readonly<Record<string, string | undefined>>;
  const { subject_token: subjectToken, subject_token_type: subjectTokenType, actor_token: actorToken } = given;
  const { actor_token_type: actorTokenType, requested_token_type: issuedTokenType = ACCESS_TOKEN } = given;
  if (subjectToken === undefined) missing('subject_token');
  if (subjectTokenType === undefined) missing('subject_token_type');
  demandType('subject_token_type', subjectTokenType, [ACCESS_TOKEN, JWT]);
  if (actorToken !== undefined && actorTokenType === undefined) missing('actor_token_type');
  if (actorToken === undefined && actorTokenType !== undefined)
    throw new errors.InvalidRequest('actor_token_type must be left out without actor_token');
  if (actorTokenType !== undefined) demandType('actor_token_type', actorTokenType, [ACCESS_TOKEN]);
  demandType('requested_token_type', issuedTokenType, [ACCESS_TOKEN, JWT]);
  refuseAuthorizationDetails(ctx);
  const target = targetOf([given['resource'], given['audience']]);
  return { subjectToken, subjectTokenType, actorToken, issuedTokenType, target };
}

type Presented =
  | { readonly own: true; readonly claims: AccessTokenClaims }
  | { readonly own: false; readonly claims: StatementClaims };

async function verifySubjectToken(
  ctx: KoaContextWithOIDC,
  { tokens, statements, issuer: audience }: TokenExchangeSettings,
  { subjectToken, subjectTokenType }: ExchangeRequest,
): Promise<Presented> {
  const { now } = requestOf(ctx);
  if (subjectTokenType === ACCESS_TOKEN) {
    const claims = await tokens.inspect(subjectToken, now);
    if (!claims) refuseSubject('it is not an access token of this server, for an API, that is still good');
    return { own: true, claims };
  }
  const verdict = await statements.verify(subjectToken, { purpose: 'token_exchange', audience, now });
  if (!verdict.trusted) refuseSubject(explainRejection(verdict.reason), verdict.reason);
  // whom an actor outside acts for, and how far it may go, is nothing that we know
  if (verdict.claims['act'] !== undefined) refuseSubject('somebody acts for its subject already');
  return { own: false, claims: verdict.claims };
}

function sourceOf({ own, claims }: Presented): SubjectSource {
  return own ? { resource: claims.aud } : { issuer: claims.iss };
}

interface Subject {
  readonly sub: string;
  readonly accountId: string | undefined;
  /** An account that has no grant behind it yet. */
  readonly newGrantFor: string | undefined;
  /** `undefined` where the subject's token has no scopes of ours. */
  readonly scopes: ReadonlySet<string> | undefined;
  readonly act: Act | undefined;
  readonly parents: readonly ParentToken[];
  readonly claims: Exchange['claims'];
}

async function subjectOf({ database }: TokenExchangeSettings, policy: Policy, presented: Presented): Promise<Subject> {
  if (presented.own) return ownSubject(presented.claims);
  if (!isOutside(policy.subject)) throw new Error('A policy for assertions has an issuer.');
  const { claims } = presented;
  const subject = await findExternalSubject(database, policy.subject, claims);
  if ('refused' in subject) refuseSubject(subject.refused);
  const { sub, accountId, subId } = subject;
  const carried = assertedClaims(claims.iss, subId);
  return { sub, accountId, newGrantFor: accountId, scopes: undefined, act: undefined, parents: [], claims: carried };
}

function ownSubject(claims: AccessTokenClaims): Subject {
  const { sub, scope, act, parents = [], gid } = claims;
  return {
    sub,
    accountId: gid === undefined ? undefined : sub,
    newGrantFor: undefined,
    scopes: new Set(splitScope(scope)),
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

/** Who acts: whoever the actor token is about, else the client itself. Nobody does where a policy impersonates. */
async function actorOf(
  ctx: KoaContextWithOIDC,
  { tokens }: TokenExchangeSettings,
  { actorToken }: ExchangeRequest,
  { mode }: Policy,
): Promise<Actor | undefined> {
  const { clientId } = ctx.oidc.client!;
  if (mode === 'impersonation') {
    if (actorToken === undefined) return undefined;
    throw new errors.InvalidRequest('the policy makes tokens that name no actor: leave actor_token out');
  }
  if (actorToken === undefined) return { sub: clientId };
  const claims = await tokens.inspect(actorToken, requestOf(ctx).now);
  if (!claims) refuseActor('it is not an access token of this server, for an API, that is still good');
  // another client's token proves nothing about who acts here
  if (claims.client_id !== clientId) refuseActor('it was issued to another client');
  if (claims.act || claims.parents) refuseActor('its subject does not act in person');
  const { sub, exp, cnf, gid, asserted_by } = claims;
  const restsOn = { ...(gid !== undefined && { gid }), ...(asserted_by !== undefined && { asserted_by }) };
  return { sub, exp, cnf, parent: { ...parentOf(claims), ...restsOn } };
}

/** Of an assertion that is no token of ours it may be anything, or nothing. */
function namedBy({ jti }: { readonly jti?: unknown }): string | undefined {
  return typeof jti === 'string' ? jti.slice(0, LONGEST_NAME_CHARACTERS) : undefined;
}

function demandType(parameter: string, given: string, types: readonly string[]): void {
  if (types.includes(given)) return;
  throw new errors.InvalidRequest(`${parameter} must be ${types.join(' or ')}`);
}

function missing(parameter: string): never {
  throw new errors.InvalidRequest(`missing required parameter '${parameter}'`);
}

/** RFC 8693, 2.2.2: a token that is invalid or that policy does not take makes the request invalid. */
function refuseSubject(reason: string, detail = reason): never {
  throw new errors.InvalidRequest(`subject_token is refused: ${reason}`, undefined, {
    detail: `subject_token: ${detail}`,
  });
}

function refuseActor(reason: string): never {
  throw new errors.InvalidRequest(`actor_token is refused: ${reason}`, undefined, { detail: `actor_token: ${reason}` });
}
