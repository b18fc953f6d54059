/**
 * What a client says about itself, as metadata under a policy. Pure. Members that RFC 7591 doesn't know are passed by, as
 * it demands; members that are an admin's to give are refused by name, so that nobody believes they were given.
 */
import { inPlainWords, violationsOf } from '../base/violations.ts';
import { ClientMetadata, ClientMetadataShape } from '../clients/metadata/client_metadata.ts';
import { isAmong, type RegistrationPolicy } from './policy.ts';
import { refusedMember } from './refusal.ts';

/**
 * Members of the registries (RFC 7591, 4.1 and what came after) that clients may set; those taken are the ones this
 * server speaks. `profile` is our own: whoever demands more of itself may do so.
 */
const OWN_MEMBERS: ReadonlySet<string> = new Set(
  `application_type redirect_uris post_logout_redirect_uris grant_types response_types client_name client_uri
  logo_uri policy_uri tos_uri contacts software_id software_version token_endpoint_auth_method
  token_endpoint_auth_signing_alg jwks jwks_uri tls_client_auth_subject_dn tls_client_auth_san_dns
  tls_client_auth_san_uri tls_client_auth_san_ip tls_client_auth_san_email
  tls_client_certificate_bound_access_tokens dpop_bound_access_tokens require_pushed_authorization_requests
  request_object_signing_alg require_signed_request_object authorization_signed_response_alg response_modes
  id_token_signed_response_alg userinfo_signed_response_alg introspection_signed_response_alg subject_type
  sector_identifier_uri initiate_login_uri default_max_age require_auth_time default_acr_values
  backchannel_logout_uri backchannel_logout_session_required frontchannel_logout_uri
  frontchannel_logout_session_required backchannel_token_delivery_mode backchannel_client_notification_endpoint
  backchannel_authentication_request_signing_alg backchannel_user_code_parameter
  profile`.split(/\s+/),
);

export type Given = Readonly<Record<string, unknown>>;

const isKnown = (member: string): boolean => Object.hasOwn(ClientMetadataShape.shape, member);
/** `scope` is the server's to say: see `underPolicy`. */
const isOwn = (member: string): boolean => OWN_MEMBERS.has(member) && isKnown(member);

/** The names of all members that a client may set by itself. */
export const allowedMembers: readonly string[] = Object.keys(ClientMetadataShape.shape).filter(isOwn);

/** The members of the metadata that a client is shown as its own. */
export function allowedView(metadata: ClientMetadata): Record<string, unknown> {
  return Object.fromEntries(Object.entries(metadata).filter(([member]) => isOwn(member)));
}

/**
 * Validated as a whole, and against the policy. The scope is what the policy gives, whatever was asked for (RFC 7591,
 * 2, lets the server replace it): a client that asked for little could otherwise never ask a person for more.
 */
export function underPolicy(policy: RegistrationPolicy, given: Given): ClientMetadata {
  const own = ownOf(given);
  const { data: metadata, error } = ClientMetadata.safeParse(
    { ...defaultsFor(policy, own), ...own, scope: policy.openid_scopes.join(' ') },
    { error: inPlainWords },
  );
  if (!metadata) {
    const [first] = violationsOf(error);
    throw refusedMember(first?.path.replace(/^\//, '') || 'the metadata', first?.detail ?? 'is not as it should be');
  }
  demandAllowed(policy, metadata);
  return metadata;
}

/** What is empty counts as left out (RFC 7592, 2.2), as does what nobody here knows. */
function ownOf(given: Given): Record<string, unknown> {
  const privileged = Object.keys(given).find(
    (member) => isKnown(member) && !OWN_MEMBERS.has(member) && member !== 'scope',
  );
  if (privileged !== undefined) throw refusedMember(privileged, 'is given by an admin and can’t be registered');
  return Object.fromEntries(
    Object.entries(given).filter(([member, value]) => isOwn(member) && value !== null && value !== ''),
  );
}

/** RFC 7591 has the grant type, and the method too unless the policy doesn't allow it. */
function defaultsFor(policy: RegistrationPolicy, own: Given): Given {
  const method = 'client_secret_basic';
  const methods = policy.token_endpoint_auth_methods;
  return {
    grant_types: ['authorization_code'],
    token_endpoint_auth_method: methods.includes(method) ? method : methods[0],
    application_type: isOnDevicesAlone(own['redirect_uris']) ? 'native' : 'web',
  };
}

/** Programs on people's devices seldom say so, and what a loopback port may be depends on it (RFC 8252, 7.3). */
function isOnDevicesAlone(redirectUris: unknown): boolean {
  const uris: unknown[] = Array.isArray(redirectUris) ? redirectUris : [];
  return uris.length > 0 && !uris.some((uri) => typeof uri !== 'string' || /^https:/i.test(uri));
}

/** Where this server goes by itself: what it may reach on loopback is for clients that an admin has registered. */
const VISITED = [
  'jwks_uri',
  'sector_identifier_uri',
  'backchannel_logout_uri',
  'backchannel_client_notification_endpoint',
] as const;

function demandAllowed(policy: RegistrationPolicy, metadata: ClientMetadata): void {
  const { grant_types: grantTypes, token_endpoint_auth_methods: methods } = policy;
  const excess = metadata.grant_types.find((grantType) => !grantTypes.includes(grantType));
  if (excess) throw refusedMember('grant_types', `must be among ${grantTypes.join(', ')} here`);
  if (!methods.includes(metadata.token_endpoint_auth_method)) {
    throw refusedMember('token_endpoint_auth_method', `must be ${methods.join(' or ')} here`);
  }
  const insecure = VISITED.find((member) => metadata[member]?.startsWith('https:') === false);
  if (insecure) throw refusedMember(insecure, 'must be an https URL');
  for (const member of ['redirect_uris', 'post_logout_redirect_uris'] as const) {
    metadata[member].forEach((uri, index) => demandAllowedUri(policy, `${member}/${index}`, uri));
  }
}

function demandAllowedUri(policy: RegistrationPolicy, member: string, uri: string): void {
  const { protocol, hostname } = new URL(uri);
  const scheme = protocol.slice(0, -1);
  if (policy.redirect_uri_schemes?.includes(scheme) === false) {
    throw refusedMember(member, `must have the scheme ${policy.redirect_uri_schemes.join(' or ')} here`);
  }
  // plain http is for loopback addresses alone, and those are on everybody's own device
  if (protocol === 'https:' && !isAmong(policy.redirect_uri_hosts, hostname)) {
    throw refusedMember(member, 'must be on a host that this server takes redirect URIs of');
  }
}
