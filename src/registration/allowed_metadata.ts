/**
 * Validates client metadata under a registration policy, without I/O. Members that RFC 7591 doesn't define are ignored,
 * as it requires. Members that only an admin may set are refused by name, so that the client does not assume that they
 * are in force.
 */
import { inPlainWords, violationsOf } from '../base/violations.ts';
import { ClientMetadata, ClientMetadataShape } from '../clients/metadata/client_metadata.ts';
import { guessApplicationType, isOwnedScheme } from '../clients/redirect_uri.ts';
import { narrowToPolicy } from './narrowed_lists.ts';
import { isAmong, type RegistrationPolicy } from './policy.ts';
import { refusedMember } from './refusal.ts';

/**
 * Registered metadata members (RFC 7591, 4.1, and later specifications) that clients may set; the server accepts those
 * that it supports. `profile` and `id_token_claims` are this server's own: a client may always choose stricter rules.
 */
const OWN_MEMBERS: ReadonlySet<string> = new Set(
  `application_type redirect_uris post_logout_redirect_uris grant_types response_types client_name client_uri
  policy_uri tos_uri contacts software_id software_version token_endpoint_auth_method
  token_endpoint_auth_signing_alg jwks jwks_uri tls_client_auth_subject_dn tls_client_auth_san_dns
  tls_client_auth_san_uri tls_client_auth_san_ip tls_client_auth_san_email
  tls_client_certificate_bound_access_tokens dpop_bound_access_tokens require_pushed_authorization_requests
  request_object_signing_alg require_signed_request_object authorization_signed_response_alg response_modes
  id_token_signed_response_alg userinfo_signed_response_alg introspection_signed_response_alg subject_type
  sector_identifier_uri initiate_login_uri default_max_age require_auth_time default_acr_values
  backchannel_logout_uri backchannel_logout_session_required frontchannel_logout_uri
  frontchannel_logout_session_required backchannel_token_delivery_mode backchannel_client_notification_endpoint
  backchannel_authentication_request_signing_alg backchannel_user_code_parameter
  profile id_token_claims`.split(/\s+/),
);

/**
 * Many clients send it with their registration. No page could show it: a picture from a host that the client chose would
 * tell that host who logs in when, and the Content-Security-Policy of the pages allows none (http/page_headers.ts).
 */
const IGNORED = 'logo_uri';

export type Given = Readonly<Record<string, unknown>>;

const isKnown = (member: string): boolean => Object.hasOwn(ClientMetadataShape.shape, member);
/** `scope` and `assertion_audience` are set by the server; see `underPolicy`. */
const isOwn = (member: string): boolean => OWN_MEMBERS.has(member) && isKnown(member);

/** The names of all members that a client may set itself. */
export const allowedMembers: readonly string[] = Object.keys(ClientMetadataShape.shape).filter(isOwn);

/** The members of the metadata that the client may read. */
export function allowedView(metadata: ClientMetadata): Record<string, unknown> {
  return Object.fromEntries(Object.entries(metadata).filter(([member]) => isOwn(member)));
}

/**
 * Validates the metadata as a whole and against the policy; throws `RegistrationRefused`. The scope is always the
 * policy's (RFC 7591, 2, permits the server to replace it): a client that registered a narrow scope could otherwise
 * never request a wider one. The answer shows the client what was narrowed (RFC 7591, 3.2.1).
 */
export function underPolicy(policy: RegistrationPolicy, given: Given): ClientMetadata {
  const own = ownMembers(given);
  const asked = narrowToPolicy(policy, { ...defaultsFor(policy, own), ...own });
  demandMethod(policy, asked['token_endpoint_auth_method']);
  const { data: metadata, error } = ClientMetadata.safeParse(
    { ...asked, scope: policy.openid_scopes.join(' '), ...audienceUnder(policy, asked) },
    { error: inPlainWords },
  );
  if (!metadata) {
    const [first] = violationsOf(error);
    throw refusedMember(first?.path.replace(/^\//, '') || 'the metadata', first?.detail ?? 'is not valid');
  }
  demandAllowed(policy, metadata);
  return metadata;
}

/** Empty members count as omitted (RFC 7592, 2.2), and so do unknown ones. */
function ownMembers(given: Given): Record<string, unknown> {
  const privileged = Object.keys(given).find(
    (member) => isKnown(member) && !OWN_MEMBERS.has(member) && member !== 'scope' && member !== IGNORED,
  );
  if (privileged !== undefined) throw refusedMember(privileged, 'can only be set by an admin');
  return Object.fromEntries(
    Object.entries(given).filter(([member, value]) => isOwn(member) && value !== null && value !== ''),
  );
}

/** RFC 7591 defines the default of the grant type, and of the method unless the policy excludes that method. */
function defaultsFor(policy: RegistrationPolicy, own: Given): Given {
  const method = 'client_secret_basic';
  const methods = policy.token_endpoint_auth_methods;
  return {
    grant_types: ['authorization_code'],
    token_endpoint_auth_method: methods.includes(method) ? method : methods[0],
    application_type: guessApplicationType(own['redirect_uris']),
  };
}

/** The policy's audience of assertions, for a client to which it can apply. */
function audienceUnder({ assertion_audience }: RegistrationPolicy, asked: Given): Given {
  const applies = asked['token_endpoint_auth_method'] === 'private_key_jwt' && asked['profile'] !== 'fapi2';
  return applies && assertion_audience === 'endpoints' ? { assertion_audience } : {};
}

/** URLs that this server itself requests; only clients that an admin registered may use loopback addresses here. */
const REQUESTED_BY_SERVER = [
  'jwks_uri',
  'sector_identifier_uri',
  'backchannel_logout_uri',
  'backchannel_client_notification_endpoint',
] as const;

/** Checked before the other members: some take time to validate, and mean nothing with another method. */
function demandMethod({ token_endpoint_auth_methods: methods }: RegistrationPolicy, asked: unknown): void {
  if (methods.some((method) => method === asked)) return;
  throw refusedMember('token_endpoint_auth_method', `must be ${methods.join(' or ')}`);
}

function demandAllowed(policy: RegistrationPolicy, metadata: ClientMetadata): void {
  const insecure = REQUESTED_BY_SERVER.find((member) => metadata[member]?.startsWith('https:') === false);
  if (insecure) throw refusedMember(insecure, 'must be an https URL');
  for (const member of ['redirect_uris', 'post_logout_redirect_uris'] as const) {
    metadata[member].forEach((uri, index) => demandAllowedUri(policy, `${member}/${index}`, uri));
  }
}

const UNOWNED_SCHEME =
  'must use a scheme that is a reversed domain name, such as com.example.app (RFC 8252, 7.1), or one that the registration policy names in redirect_uri_schemes';

function demandAllowedUri(policy: RegistrationPolicy, member: string, uri: string): void {
  const { protocol, hostname } = new URL(uri);
  const scheme = protocol.slice(0, -1);
  if (policy.redirect_uri_schemes?.includes(scheme) === false) {
    throw refusedMember(member, `must have the scheme ${policy.redirect_uri_schemes.join(' or ')}`);
  }
  if (!policy.redirect_uri_schemes && !isOwnedScheme(scheme)) throw refusedMember(member, UNOWNED_SCHEME);
  // plain http is permitted for loopback addresses only, which are on the person's own device
  if (protocol === 'https:' && !isAmong(policy.redirect_uri_hosts, hostname)) {
    throw refusedMember(member, 'must have a host that the registration policy permits in redirect_uri_hosts');
  }
}
