/**
 * The JWT bearer grant (RFC 7523, 2.1): the server issues a token for an assertion that a trusted issuer made about a
 * subject. An assertion is valid once, across all nodes, and gives no refresh token: the client presents a new
 * assertion for another token.
 */
import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider';
import { JWT_BEARER } from '../../clients/metadata/flows.ts';
import type { Database } from '../../db/connection.ts';
import { choosePolicy, permittedScopes } from '../../grant_policies/evaluate.ts';
import { isExternal } from '../../grant_policies/policy.ts';
import { readPoliciesOf } from '../../grant_policies/policy_store.ts';
import { requestOf } from '../../http/request_context.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { explainRejection } from '../../trust/rejection.ts';
import type { StatementClaims, StatementVerifier } from '../../trust/statement_verifier.ts';
import { noteReplay, notesOf } from '../request/request_events.ts';
import { assertedClaims } from '../issuance/exchanged_claims.ts';
import { findExternalSubject, membershipsOfSubject } from './external_subject.ts';
import { useOnce } from '../request/single_use.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import { bindToSender, requireSameKey } from '../sender_constraint/sender_constraint.ts';
import { requirePolicy, draftToken, issueToken, refuseAuthorizationDetails, targetOf } from './exchanged_token.ts';

export interface JwtBearerSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly statements: StatementVerifier;
  readonly policy: ResourcePolicy;
  readonly roles: RoleDirectory;
}

const PARAMETERS = ['assertion', 'scope', 'resource'];
const LONGEST_JTI_CHARACTERS = 256;

/** Registers the grant at a provider; call it for each new provider. */
export function offerJwtBearer(provider: Provider, settings: JwtBearerSettings): void {
  provider.registerGrantType(JWT_BEARER, (ctx) => answer(ctx, settings), PARAMETERS, ['resource']);
}

async function answer(ctx: KoaContextWithOIDC, settings: JwtBearerSettings): Promise<void> {
  const { issuer: audience, database, statements } = settings;
  const { client, params = {} } = ctx.oidc;
  const { assertion } = params;
  if (typeof assertion !== 'string') throw new errors.InvalidRequest("missing required parameter 'assertion'");
  refuseAuthorizationDetails(ctx);
  const target = targetOf([params['resource']]);
  const policies = await readPoliciesOf(database, 'jwt_bearer', client!.clientId);
  if (policies.length === 0) throw new errors.UnauthorizedClient('no policy permits this client to present assertions');

  const verdict = await statements.verify(assertion, { purpose: 'jwt_bearer', audience, now: requestOf(ctx).now });
  if (!verdict.trusted) refuse(explainRejection(verdict.reason), verdict.reason);
  const { claims } = verdict;
  const { jti } = claims;
  if (typeof jti !== 'string' || jti === '' || jti.length > LONGEST_JTI_CHARACTERS) {
    refuse(`jti must be a string of 1 to ${LONGEST_JTI_CHARACTERS} characters`);
  }
  const policy = requirePolicy(choosePolicy(policies, { issuer: claims.iss }, target), refuse);
  if (!isExternal(policy.subject)) throw new Error('A policy for assertions must have an issuer.');
  const subject = await findExternalSubject(database, policy.subject, claims);
  if ('refused' in subject) refuse(subject.refused);

  const { sub, accountId } = subject;
  const draft = draftToken(ctx, settings.policy, {
    policy,
    permitted: permittedScopes(policy, undefined),
    sub,
    accountId,
    memberships: await membershipsOfSubject(database, settings.roles, accountId),
    notAfter: claims.exp,
    claims: assertedClaims(claims.iss, subject),
  });
  const useProof = await bindToSender(ctx, draft.token);
  requireSameKey(claims['cnf'], draft.token, refuse);
  await useAssertion(ctx, database, claims, jti);
  await useProof();
  notesOf(ctx).tokenSource = {
    accountId,
    details: { policy_id: policy.policyId, subject: claims.sub, issuer: claims.iss, from_jti: jti },
  };
  ctx.body = await issueToken(ctx, draft);
}

async function useAssertion(
  ctx: KoaContextWithOIDC,
  database: Database,
  { iss, exp }: StatementClaims,
  jti: string,
): Promise<void> {
  if (await useOnce(ctx, database, 'grant_assertion', { issuer: iss, jti, until: exp })) return;
  noteReplay(ctx, 'assertion.replayed');
  refuse('it was already used');
}

/** Throws `invalid_grant` (RFC 7521, 4.1.1). */
function refuse(reason: string, detail = reason): never {
  throw new errors.CustomOIDCProviderError('invalid_grant', `the assertion is refused: ${reason}`, { detail });
}
