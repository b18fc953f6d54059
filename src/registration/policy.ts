/**
 * The schema of registration policies, for clients that register themselves (RFC 7591) and manage their registration
 * (RFC 7592), and for clients whose client_id is the URL of their metadata. A policy is data that admins maintain, and
 * says what such a client may be. A client without a token, or with a URL, comes under the one policy that is open for
 * it; there is none unless an admin creates one. A client never gets by itself what only an admin may give.
 */
import { z } from 'zod';
import { ResourceAccess } from '../clients/metadata/access.ts';
import { assertionAudience, AUTH_METHODS } from '../clients/metadata/client_authentication.ts';
import { DEVICE_CODE, GRANT_TYPES } from '../clients/metadata/flows.ts';
import { isForbiddenScheme } from '../clients/redirect_uri.ts';

const OPENID_SCOPES = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access'] as const;
const USUAL_SCOPES = ['openid', 'profile', 'email', 'offline_access'] as const;
/** The defaults of a policy: no grant without a person, and nothing that requires certificates. */
const USUAL_GRANT_TYPES = ['authorization_code', 'refresh_token'] as const;
/** Grant types that an open policy may permit: with them, the server asks a person who started the flow. */
const OPEN_GRANT_TYPES: readonly string[] = ['authorization_code', 'refresh_token', DEVICE_CODE];
const USUAL_METHODS = ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt'] as const;

/** A person who adds an application logs in within minutes; a day also covers the next morning. */
export const NEVER_USED_SECONDS = 86_400;

const isUnique = (all: readonly unknown[]): boolean => new Set(all).size === all.length;

const hosts = z
  .array(
    z
      .string()
      .max(253)
      .regex(
        /^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/,
        'must be a host in lower case, or *. and a domain for every host below it',
      ),
  )
  .min(1, 'must name at least one host')
  .max(200, 'must not name more than 200 hosts');

export const policyName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$/, 'must be made of up to 64 lower-case letters, digits and hyphens');

const settings = {
  open_registration: z
    .boolean()
    .default(false)
    .describe('Whether clients may register under this policy without a token. Only one policy may allow it.'),
  client_id_metadata_documents: z
    .boolean()
    .default(false)
    .describe('Whether this policy accepts a URL of a metadata document as client_id. Only one policy may allow it.'),
  client_id_hosts: hosts.optional().describe('Hosts of metadata documents. Default: any public host.'),
  grant_types: z
    .array(z.enum(GRANT_TYPES, `must be one of ${GRANT_TYPES.join(', ')}`))
    .min(1, 'must name at least one grant type')
    .refine(isUnique, 'must not name a grant type twice')
    .default([...USUAL_GRANT_TYPES]),
  token_endpoint_auth_methods: z
    .array(z.enum(AUTH_METHODS, `must be one of ${AUTH_METHODS.join(', ')}`))
    .min(1, 'must name at least one method')
    .refine(isUnique, 'must not name a method twice')
    .default([...USUAL_METHODS])
    .describe('If client_secret_basic is not in the list, the first method is the default of clients that name none.'),
  assertion_audience: assertionAudience
    .optional()
    .describe(
      'The assertion_audience of clients with private_key_jwt, except those with profile fapi2: endpoints lets them name the token endpoint or the called endpoint. Default: issuer.',
    ),
  redirect_uri_hosts: hosts
    .optional()
    .describe('Allowed hosts of http and https redirect URIs, besides loopback addresses. Default: any host.'),
  redirect_uri_schemes: z
    .array(
      z
        .string()
        .max(100)
        .regex(/^[a-z][a-z0-9+.-]*$/, 'must be a scheme in lower case, without the colon'),
    )
    .min(1, 'must name at least one scheme')
    .max(50)
    .optional()
    .describe(
      'The only allowed schemes of redirect URIs. http is always limited to loopback addresses. A scheme without a dot, such as that of an editor, must be named here. Default: https, http and every reversed domain name.',
    ),
  openid_scopes: z
    .array(z.enum(OPENID_SCOPES, `must be one of ${OPENID_SCOPES.join(', ')}`))
    .min(1, 'must name at least one scope')
    .refine(isUnique, 'must not name a scope twice')
    .default([...USUAL_SCOPES]),
  resources: z
    .array(ResourceAccess)
    .max(100, 'must not name more than 100 resources')
    .refine((all) => isUnique(all.map(({ resource }) => resource)), 'must not name a resource twice')
    .default([])
    .describe(
      'Resources and scopes that every client under this policy may request. Changes apply to existing clients too.',
    ),
  software_statement: z
    .enum(['ignored', 'accepted', 'required'], 'must be ignored, accepted or required')
    .default('ignored'),
  software_statement_issuers: z
    .array(z.string().min(1, 'must not be empty').max(512))
    .max(100)
    .refine(isUnique, 'must not name an issuer twice')
    .default([])
    .describe('Trusted issuers whose software statements are accepted.'),
  clients_at_most: z
    .int('must be a whole number')
    .min(1, 'must be at least 1')
    .max(1_000_000, 'must be at most 1000000')
    .default(1_000)
    .describe('Maximum number of registered clients under this policy; metadata documents are counted separately.'),
  metadata_documents_at_most: z
    .int('must be a whole number')
    .min(1, 'must be at least 1')
    .max(1_000_000, 'must be at most 1000000')
    .optional()
    .describe('Maximum number of clients with a metadata document. Default: clients_at_most.'),
  client_secret_ttl_seconds: z
    .int('must be a whole number of seconds')
    .min(3_600, 'must be at least an hour (3600)')
    .max(157_680_000, 'must be at most five years (157680000)')
    .optional()
    .describe('Lifetime of the client secrets. Default: unlimited.'),
  unused_client_ttl_seconds: z
    .int('must be a whole number of seconds')
    .min(3_600, 'must be at least an hour (3600)')
    .max(157_680_000, 'must be at most five years (157680000)')
    .optional()
    .describe('Time after which an unused client is deleted. Default: never.'),
  never_used_client_ttl_seconds: z
    .int('must be a whole number of seconds')
    .min(3_600, 'must be at least an hour (3600)')
    .max(157_680_000, 'must be at most five years (157680000)')
    .default(NEVER_USED_SECONDS)
    .describe(
      'Time after which a client is deleted if it registered without an initial access token and no person has given it consent.',
    ),
};

/** The plain shape, for patches and the OpenAPI document. */
export const RegistrationPolicyShape = z.strictObject({ name: policyName, ...settings });

/** The shape with the rules that concern several members. */
export const RegistrationPolicy = RegistrationPolicyShape.superRefine((policy, context) => {
  const report = (member: keyof typeof settings, message: string): void =>
    context.addIssue({ code: 'custom', path: [member], message });
  const isOpen = policy.open_registration || policy.client_id_metadata_documents;
  const excess = policy.grant_types.find((grantType) => !OPEN_GRANT_TYPES.includes(grantType));
  if (isOpen && excess !== undefined) {
    report(
      'grant_types',
      `must not contain ${excess} in a policy that is open without a token: the person who started the flow must consent`,
    );
  }
  // here and not in the shape, so that the server can still read an older policy that names one
  const forbidden = policy.redirect_uri_schemes?.find(isForbiddenScheme);
  if (forbidden !== undefined) {
    report('redirect_uri_schemes', `must not contain ${forbidden}: no redirect URI may have this scheme`);
  }
  if (policy.client_id_hosts && !policy.client_id_metadata_documents) {
    report('client_id_hosts', 'requires client_id_metadata_documents');
  }
  if (policy.client_id_metadata_documents && !policy.token_endpoint_auth_methods.some(isForDocuments)) {
    report('token_endpoint_auth_methods', 'must contain none or private_key_jwt for client_id_metadata_documents');
  }
  if (policy.client_id_metadata_documents && policy.software_statement === 'required') {
    report(
      'software_statement',
      'must not be required with client_id_metadata_documents: documents have no software statement',
    );
  }
  if (policy.software_statement !== 'ignored' && policy.software_statement_issuers.length === 0) {
    report('software_statement_issuers', 'must name at least one issuer, unless software_statement is ignored');
  }
});
/** The stored form; members that a newer version has added are ignored. */
export const StoredRegistrationPolicy = z.object(RegistrationPolicyShape.shape);
export type RegistrationPolicy = z.output<typeof RegistrationPolicy>;

/** A metadata document is public, so it can't be used with a client secret. */
export function isForDocuments(method: string): method is 'none' | 'private_key_jwt' {
  return method === 'none' || method === 'private_key_jwt';
}

/** True if `host` matches one of `named`, or if `named` is `undefined`. */
export function isAmong(named: readonly string[] | undefined, host: string): boolean {
  return named?.some((one) => (one.startsWith('*.') ? host.endsWith(one.slice(1)) : host === one)) ?? true;
}
