/**
 * Client metadata: the members of RFC 7591 that this server supports. Each is bounded; unknown members are refused.
 * Every change validates the whole metadata again, so changes cannot lead to a state that registration would refuse.
 */
import { z } from 'zod';
import { access, checkAccess } from './access.ts';
import { authentication, checkAuthentication } from './client_authentication.ts';
import { authorizationRequests, checkAuthorizationRequests } from './authorization_requests.ts';
import { backchannelAuthentication, checkBackchannelAuthentication } from './backchannel_authentication.ts';
import type { Objection } from './check.ts';
import { checkCorsOrigins, corsOrigins } from './cors_origins.ts';
import { checkFlows, flows } from './flows.ts';
import { checkLogout, logout } from './logout.ts';
import { checkMutualTls, mutualTls } from './mutual_tls.ts';
import { checkPeople, people } from './people.ts';
import { checkPkceExemption, pkceExemption } from './pkce_exemption.ts';
import { presentation } from './presentation.ts';
import { checkSecurityProfile, fapi2Defaults, isFapi2, securityProfile } from './security_profile.ts';
import { checkSubjects, subjects } from './subjects.ts';
import { tokens } from './tokens.ts';

const members = {
  ...presentation,
  ...flows,
  ...corsOrigins,
  ...authentication,
  ...mutualTls,
  ...authorizationRequests,
  ...pkceExemption,
  ...backchannelAuthentication,
  ...tokens,
  ...securityProfile,
  ...logout,
  ...subjects,
  ...access,
  ...people,
};

type Given = z.output<z.ZodObject<typeof members>>;

const CHECKS: readonly ((client: ClientMetadata, object: Objection) => void)[] = [
  checkFlows,
  checkCorsOrigins,
  checkAuthentication,
  checkMutualTls,
  checkAuthorizationRequests,
  checkPkceExemption,
  checkBackchannelAuthentication,
  checkSubjects,
  checkLogout,
  checkAccess,
  checkPeople,
  checkSecurityProfile,
];

/** Members that a client that registers itself must not set. */
export const ADMIN_ONLY_MEMBERS = [
  'pkce_exemption',
  'assertion_audience',
  'allowed_cors_origins',
  'userinfo_audience',
  'allowed_groups',
  'account_claims',
  'claim_mappings',
  'first_party',
  'required_acr',
] as const satisfies readonly (keyof typeof members)[];

/** Validated metadata, including default values that follow from other members. */
export type ClientMetadata = ReturnType<typeof withDefaults>;

/** Validates client metadata as a whole. */
export const ClientMetadata = z
  .strictObject(members)
  .transform(withDefaults)
  .superRefine((client, context) => {
    for (const check of CHECKS) {
      check(client, (path, message) => context.addIssue({ code: 'custom', path: [...path], message }));
    }
  });

/** The members without the rules between them, for the OpenAPI document. */
export const ClientMetadataShape = z.strictObject(members);

function withDefaults(given: Given) {
  const grant_types = given.grant_types ?? [
    given.redirect_uris.length > 0 ? 'authorization_code' : 'client_credentials',
  ];
  const response_types: 'code'[] = given.response_types ?? (grant_types.includes('authorization_code') ? ['code'] : []);
  return { ...(isFapi2(given) && fapi2Defaults(grant_types)), ...given, grant_types, response_types };
}
