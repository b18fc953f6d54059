/**
 * The admin API: manages clients, secrets, resources, keys, accounts and the audit trail over HTTP. Callers
 * authenticate with access tokens of this server; each route names the scope it needs. Every change commits in one
 * transaction with its audit event. Each file defines the routes of one kind of object.
 */
import type { Context, Middleware } from 'koa';
import { requestOf } from '../http/request_context.ts';
import { createRouter } from '../http/router.ts';
import { accountRoutes } from './accounts.ts';
import { auditEventRoutes } from './audit_events.ts';
import { auditEvidenceRoutes } from './audit_evidence.ts';
import { authorizationDetailsTypeRoutes } from './authorization_details_types.ts';
import { authenticate, requireScope, type Caller } from './authentication.ts';
import { AdminCall, type AdminRoute } from './admin_call.ts';
import { clientRoutes } from './clients.ts';
import type { AdminDependencies } from './admin_dependencies.ts';
import { answerFailure } from './error_response.ts';
import { factorRoutes } from './factors.ts';
import { grantPolicyRoutes } from './grant_policies.ts';
import { grantRoutes } from './grants.ts';
import { groupMemberRoutes } from './group_members.ts';
import { groupRoutes } from './groups.ts';
import { initialAccessTokenRoutes } from './initial_access_tokens.ts';
import { keyRoutes } from './keys.ts';
import { linkRoutes } from './links.ts';
import { liveTokenRoutes } from './live_tokens.ts';
import { documentRoute } from './openapi.ts';
import { registrationPolicyRoutes } from './registration_policies.ts';
import { resourceRoutes } from './resources.ts';
import { metadataDocumentRoutes } from './metadata_documents.ts';
import { revocationRoutes } from './revocation.ts';
import { roleRoutes } from './roles.ts';
import { ADMIN_PREFIX } from './scopes.ts';
import { secretRoutes } from './secrets.ts';
import { sessionRoutes } from './sessions.ts';
import { subjectLinkRoutes } from './subject_links.ts';
import { trustedIssuerRoutes } from './trusted_issuers.ts';

export { ADMIN_PREFIX, ADMIN_SCOPES, adminResourceIdentifier } from './scopes.ts';

const OBJECT_ROUTES: readonly AdminRoute[] = [
  ...clientRoutes,
  ...secretRoutes,
  ...revocationRoutes,
  ...metadataDocumentRoutes,
  ...liveTokenRoutes,
  ...resourceRoutes,
  ...registrationPolicyRoutes,
  ...initialAccessTokenRoutes,
  ...trustedIssuerRoutes,
  ...subjectLinkRoutes,
  ...grantPolicyRoutes,
  ...authorizationDetailsTypeRoutes,
  ...keyRoutes,
  ...accountRoutes,
  ...roleRoutes,
  ...groupRoutes,
  ...groupMemberRoutes,
  ...linkRoutes,
  ...factorRoutes,
  ...sessionRoutes,
  ...grantRoutes,
  ...auditEventRoutes,
  ...auditEvidenceRoutes,
];

/**
 * Answers every request under the prefix, including errors and unknown paths; passes all other paths to the next
 * middleware.
 */
export function createAdmin(dependencies: AdminDependencies): Middleware {
  const callers = new WeakMap<Context, Caller>();
  const router = createRouter<Caller | undefined, AdminCall>({
    prefix: ADMIN_PREFIX,
    routes: [...OBJECT_ROUTES, documentRoute(dependencies.issuer, OBJECT_ROUTES)],
    async admit(ctx, { scope }) {
      if (scope === undefined) return undefined;
      const caller = await authenticate(ctx, dependencies, requestOf(ctx).now);
      callers.set(ctx, caller);
      requireScope(ctx, caller, scope);
      return caller;
    },
    open: (ctx, caller, body) => new AdminCall(dependencies, ctx, caller, body),
  });
  return async (ctx, next) => {
    if (ctx.path !== ADMIN_PREFIX && !ctx.path.startsWith(`${ADMIN_PREFIX}/`)) return next();
    ctx.set({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' });
    try {
      await router.handle(ctx);
    } catch (error) {
      const path = router.pathTemplate(ctx);
      await answerFailure(dependencies, { ctx, caller: callers.get(ctx), path, error });
    }
  };
}
