/**
 * All events of the audit trail: when each happens and what its details contain. The compiler checks each event against
 * its entry; docs/audit-events.md and the OpenAPI document are generated from here. No detail contains a secret.
 */
import { z } from 'zod';
import {
  alarm,
  done,
  doneOrRefused,
  flag,
  number,
  refusal,
  text,
  texts,
  time,
  type Details,
} from './catalogue_entry.ts';

const error = text.describe('The error code in the response.');
const reason = text.optional().describe('The real reason, which the response may not contain.');
const refused = { error, reason };
const why = text.describe('The reason that the admin or operator gave.');
const retry_after_seconds = number.describe('The number of seconds for which the server refuses further requests.');
const members = texts.describe('The members that the call set.');
const values = z.record(z.string(), z.unknown()).readonly();
const changed = {
  members,
  before: values.describe('The members that differ, with their values before the change. Long values are cut.'),
  after: values.describe('The same members with their values after the change. An absent member has no value.'),
};

const scope = text.optional().describe('Scopes, separated by spaces.');
const resources = texts.describe('Identifiers of resources.');
const authorization_details_types = texts.optional().describe('Types of rich authorization requests (RFC 9396).');
const asked = { scope, resources: resources.optional(), authorization_details_types };
const grant_id = text.optional().describe('A digest that identifies the grant. It is not a token.');
const grant_type = text.optional();
const jti = text.optional().describe('The id of a JWT. An opaque token has no id that may be recorded.');
const asserted_by = text.optional().describe('The trusted issuer whose assertion the token rests on.');
const parents = z
  .array(
    z.strictObject({
      jti: z.string(),
      client_id: z.string(),
      generation: z.int(),
      grant_id: z.string().optional(),
      asserted_by: z.string().optional(),
      resource: z.string().optional(),
      issued_at: z.string().optional(),
    }),
  )
  .readonly()
  .optional()
  .describe('The tokens that an exchanged token was made from: it ends with each of them.');
const request = text.describe('The id of the request in the address of its page, /approve/{request}.');

const TOKENS = {
  'token.issued': done('A client receives a token.', {
    grant_type,
    resource: text.optional().describe('The audience.'),
    with_userinfo: flag.optional().describe('True for a token that is for userinfo too.'),
    scope,
    authorization_details_types,
    jti,
    jkt: text.optional().describe('The thumbprint of the DPoP key to which the token is bound (RFC 9449).'),
    x5t_s256: text.optional().describe('The thumbprint of the certificate to which the token is bound (RFC 8705).'),
    expires_in_seconds: number.optional(),
    expires_at: time.optional(),
    generation: number.optional().describe('The client’s token generation, as in the token.'),
    with_refresh_token: flag,
    grant_id,
    policy_id: text.optional().describe('The policy that permitted the exchange or the assertion.'),
    subject: text.optional().describe('The subject of the exchanged token.'),
    issuer: text.optional().describe('The trusted issuer of the exchanged token.'),
    actor: text.optional().describe('The party that acts for the subject.'),
    from_jti: text.optional().describe('The id of the exchanged token.'),
    asserted_by,
    parents,
  }),
  'token.refused': refusal('The token endpoint refuses a request.', { grant_type, ...refused }),
  'token.undelivered': alarm(
    'The database may have marked a code or token as used, but the request was answered with 503. The code or token may be used again.',
    { grant_type },
  ),
  'token.revoked': doneOrRefused('A client revokes a token, or the server refuses that.', {
    token_type: text.optional(),
    jti,
    error: error.optional(),
    reason,
  }),
  'token.introspected': refusal(
    'The introspection endpoint refuses a request. Successful introspection is not recorded.',
    refused,
  ),
  'refresh_token.reused': alarm('A client sends a used refresh token again, and its whole family ends.', { grant_id }),
  'code.reused': alarm('A client sends a used authorization code again, and its tokens end.', { grant_id }),
  'device_code.reused': alarm('A client sends a used device code again, and its tokens end.', { grant_id }),
  'backchannel_request.reused': alarm('A client sends a used auth_req_id again, and its tokens end.', { grant_id }),
  'request_uri.reused': refusal('A client sends a used request_uri of a pushed request again.', { grant_id }),
  'assertion.replayed': refusal('A client sends an assertion a second time.', {}),
  'dpop_proof.replayed': refusal('A client sends a DPoP proof a second time.', {}),
  'request_object.replayed': refusal('A client sends a request object a second time.', {}),
  'authorization_request.pushed': doneOrRefused('A client pushes an authorization request, or the server refuses it.', {
    ...asked,
    error: error.optional(),
    reason,
  }),
  'authorization.granted': done('The server sends a client a code or tokens through a browser.', asked),
  'authorization.refused': refusal('The server refuses an authorization, device or backchannel request.', refused),
  'userinfo.refused': refusal('The userinfo endpoint refuses a request.', refused),
  'grant.revoked': done('A grant ends with all its tokens before it expires.', { grant_id }),
};

const DEVICES = {
  'device.requested': done('A device requests a code.', asked),
  'device.confirmed': done('A person approves a device.', { scope, resources }),
  'device.denied': alarm('A person denies a device.', refused),
  'device.guessed': refusal('A person enters a user code that is unknown, used or expired.', {}),
  'device.throttled': refusal('The server refuses a user code, because too many wrong ones were entered.', {
    retry_after_seconds,
  }),
  'backchannel_authentication.requested': done('A client asks a person for approval (CIBA).', {
    request,
    scope,
    resources,
    expires_at: time,
  }),
  'backchannel_authentication.approved': done('The person approves.', { request, scopes: texts }),
  'backchannel_authentication.denied': alarm('The person denies.', { request }),
};

const factor = z.enum(['totp', 'passkey', 'recovery_codes']);
const factor_id = text.optional().describe('The id of the passkey. The other factors exist once for each account.');
const accountLink = {
  link_id: text.describe('The id of the link, which is not part of the link.'),
  kind: text.describe('`first_password`, `reset`, `email_change`, `email_way_back` or `report`.'),
};

const endedBecause = z
  .literal('admin_rights')
  .optional()
  .describe('`admin_rights`: the account got scopes of the admin API. Absent: an admin ended the link.');

const PEOPLE = {
  'account.created': done('An account is created.', {}),
  'account.updated': done('An account is changed. Personal data is not recorded.', {
    members,
    before: values.describe('`email_verified`, if the change changed it.'),
    after: values.describe('The same member after the change.'),
  }),
  'account.disabled': done('An account is disabled; its sessions and grants end.', {}),
  'account.enabled': done('A disabled account is enabled again.', {}),
  'account.deleted': done('An account is deleted, with its sessions and grants.', {}),
  'account.data_downloaded': done('A person downloads the data of their account.', {}),
  'account.password_changed': done(
    'An account has a new password; its sessions and grants end, except the session in which the person changed it.',
    {},
  ),
  'account.password_removed': done(
    'An account has no password any more, because its person reported a change as not theirs; its sessions and grants end.',
    {},
  ),
  'account.change_reported': done('A person reports, by a link in a mail, that a change was not theirs.', {
    credential: text.describe('What was changed, such as `password` or `email`.'),
    reference: text.optional().describe('Which one of them was changed.'),
    needs: text
      .optional()
      .describe(
        'What the next login needs because a second factor was removed: `password`, the one from before, or `factor`, another one or a code of an admin.',
      ),
  }),
  'account.link_created': done('A one-time link for a person is created.', {
    ...accountLink,
    sent: flag.describe('Whether the link was sent by mail. Otherwise the admin was shown it.'),
    expires_at: time,
  }),
  'account.link_used': done('A one-time link is used. No link can be used twice.', accountLink),
  'account.link_ended': done('A one-time link ends before it is used.', { ...accountLink, reason: endedBecause }),
  'account.email_change_requested': done('A person asks for another e-mail address, which is not proved yet.', {}),
  'account.mail_throttled': refusal('The server sends no further mail, because too many were requested.', {
    retry_after_seconds: retry_after_seconds.optional(),
    limit: text.describe('`network`, or `account` if the account has enough unused links.'),
  }),
  'login.succeeded': done('A person logs in.', { amr: texts.describe('The authentication methods (RFC 8176).') }),
  'login.failed': refusal('An attempt to log in fails.', {
    reason: z.enum([
      'unknown_account',
      'wrong_password',
      'account_disabled',
      'wrong_code',
      'used_code',
      'unknown_passkey',
      'wrong_passkey',
      'used_passkey',
    ]),
  }),
  'login.throttled': refusal('The server refuses an attempt to log in, because too many have failed.', {
    retry_after_seconds,
  }),
  'factor.added': done('A person adds a factor to an account, or replaces it. Other sessions of the account end.', {
    factor,
    factor_id,
    aaguid: text.optional().describe('The model of the authenticator, as it says itself.'),
    backed_up: flag.optional().describe('Whether the passkey is copied to other devices.'),
  }),
  'factor.removed': done('A person or an admin removes a factor of an account. Other sessions of the account end.', {
    factor,
    factor_id,
  }),
  'factor.renamed': done('A person renames a passkey.', { factor, factor_id }),
  'recovery_code.used': done('A person uses a recovery code in place of a factor.', {
    left: number.describe('The number of codes that are left.'),
  }),
  'recovery_code.issued': done('An admin gives an account a code with which its owner can add a factor.', {}),
  'recovery_code.ended': done('A code that an admin gave to an account ends before it is used.', {
    reason: z.literal('admin_rights').describe('The account got scopes of the admin API.'),
  }),
  'remembered_device.added': done('A person asks not to repeat the second step on a device.', { device_id: text }),
  'remembered_device.removed': done('A person ends that for a device.', { device_id: text }),
  'account.unlocked': done('An admin ends the limits that wrong attempts to log in to an account have reached.', {}),
  'logout.completed': done('A person logs out.', {}),
  'logout.refused': refusal('The server refuses a request to log out.', refused),
  'session.ended': done('A session is ended remotely: by its person on another device, or by an admin.', {
    session_id: text,
    all: flag.optional().describe('Whether the call ended all sessions of the account.'),
  }),
  'consent.given': done('A person allows a client what it requests.', {
    scopes: texts,
    authorization_details_types,
    remembered: flag,
  }),
  'consent.skipped': done('A first-party client gets what it requests; the person is not asked.', { scopes: texts }),
  'consent.denied': alarm('A person denies a client what it requests.', {}),
  'consent.withdrawn': done('A person or an admin withdraws consent from a client.', {}),
};

const rights = {
  grant_types: texts,
  token_endpoint_auth_method: text,
  redirect_uris: texts,
  allowed_cors_origins: texts.optional().describe('Further origins whose pages may read the answers to the client.'),
  resources: texts.describe('Each with the scopes that the client may request, separated by spaces.'),
  introspects: texts.describe('The resources whose tokens the client may introspect.'),
  profile: text.optional(),
  authorization_details_types: texts,
};
const policyName = text.describe('The name of the registration policy.');
const registrationPolicy = {
  policy: policyName,
  open_registration: flag,
  client_id_metadata_documents: flag,
  grant_types: texts,
  resources: texts.describe('Each with the scopes that clients may request, separated by spaces.'),
};

const CLIENTS = {
  'client.created': done('A client is created.', rights),
  'client.updated': done('A client is changed. The details show its rights after the change.', {
    ...changed,
    ...rights,
  }),
  'client.deleted': done('A client is deleted, with its grants.', {}),
  'client.pkce_exempted': done('A client no longer has to use PKCE.', { reason: why }),
  'client.pkce_exemption_ended': done('A client has to use PKCE again.', {}),
  'client.first_party_set': done('People are no longer asked for consent at a client.', {}),
  'client.first_party_ended': done('People are asked for consent at a client again.', {}),
  'client.assertion_audience_changed': done(
    'The audiences that a client may name in its assertions change: the issuer only, or endpoints too.',
    { assertion_audience: z.enum(['issuer', 'endpoints']) },
  ),
  'client.revoked': done('A client is revoked; its grants and tokens end.', { reason: why }),
  'client.document_pinned': done('An admin keeps the stored copy of a metadata document.', {}),
  'client.document_unpinned': done('The server fetches a metadata document again.', {}),
  'client.restored': done('A revoked client is restored; its old tokens stay invalid.', {}),
  'client.throttled': alarm('A client sends too many requests. Only the first of consecutive refusals is recorded.', {
    retry_after_seconds,
  }),
  'client.authentication_throttled': alarm(
    'Authentication of a client, or from a network, fails too often. Only the first of consecutive refusals is recorded.',
    { limit: text, reason, retry_after_seconds },
  ),
  'client.registered': done('A client registers itself.', {
    source: z.enum(['registration', 'metadata_document']),
    policy: policyName,
    initial_access_token_id: text.nullish(),
    software_statement_issuer: text.nullish(),
  }),
  'client.removed_unused': done('A client that registered itself is removed, because it is not used.', {
    policy: policyName,
    unused_seconds: number,
    reason: text.describe('unused, never_used or room_needed.'),
  }),
  'registration.refused': refusal('The server refuses a registration, or a call that manages one.', refused),
  'registration.throttled': alarm(
    'Too many registrations arrive. Only the first of consecutive refusals is recorded.',
    {
      limit: text.optional(),
      retry_after_seconds: number.optional(),
    },
  ),
  'registration_policy.created': done('A registration policy is created.', registrationPolicy),
  'registration_policy.updated': done(
    'A registration policy is changed. The details show its rights after the change.',
    {
      ...changed,
      ...registrationPolicy,
    },
  ),
  'registration_policy.deleted': done('A registration policy is deleted.', { policy: policyName }),
  'initial_access_token.created': done('An initial access token is created.', {
    token_id: text,
    policy: policyName,
    uses: number,
    expires_at: time,
  }),
  'initial_access_token.revoked': done('An initial access token is revoked before it expires.', {
    token_id: text,
    policy: policyName,
  }),
  'secret.created': done('A client secret is created.', {
    secret_id: text.describe('The id of the secret, which is not part of the secret.'),
    expires_at: time.nullable(),
    overlap_seconds: number.optional().describe('The number of seconds for which the previous secrets stay valid.'),
    previous: texts.describe('The ids of the previous secrets.'),
  }),
  'secret.ended': done('A client secret is ended before it expires.', { secret_id: text }),
};

const resource = text.describe('The identifier of the resource.');
const type = text.describe('The type of rich authorization requests.');

const RESOURCES = {
  'resource.created': done('A resource is created.', { resource, scopes: texts }),
  'resource.updated': done('A resource is changed. The details show its scopes after the change.', {
    resource,
    ...changed,
    scopes: texts,
  }),
  'resource.deleted': done('A resource is deleted.', { resource }),
  'resource.rights_ended': done(
    'All rights for a deleted resource, or for scopes that were removed from one, have ended. A resource or scope of the same name can be created from now on.',
    {
      resource,
      scopes: texts.optional().describe('The scopes; absent if the whole resource was deleted.'),
      grants: number.describe('The number of grants that had rights for the resource or the scopes.'),
      tokens: number.describe('The number of codes and refresh tokens that were for the resource or the scopes.'),
      consents: number.describe('The number of consents that included the resource or the scopes.'),
    },
  ),
  'authorization_details_type.created': done('A type of authorization details is created.', { type, resources }),
  'authorization_details_type.updated': done(
    'A type of authorization details is changed. The details show its resources after the change.',
    {
      type,
      ...changed,
      resources,
    },
  ),
  'authorization_details_type.deleted': done('A type of authorization details is deleted.', { type }),
};

const role = text.describe('The name of the role.');
const roleResources = texts.describe('The resources, each with the scopes of the role, separated by spaces.');
const group = { group_id: text, name: text.describe('The name of the group.') };
const roles = texts.describe('The roles that the group holds.');
const required_acr = text
  .optional()
  .describe('The authentication context that each login of the members needs. Absent: a password is enough.');
const groupFacts = { ...group, roles, required_acr };

const ROLES = {
  'role.created': done('A role is created.', { role, resources: roleResources }),
  'role.updated': done('A role is changed. The details show its scopes after the change.', {
    role,
    ...changed,
    resources: roleResources,
  }),
  'role.deleted': done('A role is deleted.', { role, resources: roleResources }),
  'group.created': done('A group is created.', groupFacts),
  'group.updated': done('A group is changed. The details show its roles after the change.', {
    ...groupFacts,
    ...changed,
  }),
  'group.deleted': done('A group is deleted; its members lose its roles.', groupFacts),
  'group.member_added': done('An account becomes a member of a group.', groupFacts),
  'group.member_removed': done('An account is no longer a member of a group.', groupFacts),
};

const issuer = text.describe('The trusted issuer.');
const trusted = { issuer, algs: texts, purposes: texts };
const link = { link_id: text, issuer, subject: text.describe('The issuer’s subject identifier for the account.') };
const exchange = {
  policy_id: text,
  subject_resource: resource.optional(),
  subject_issuer: issuer.optional(),
  subject_account: text.optional(),
  resource,
  scopes: texts,
  mode: text.nullable(),
};

const TRUST = {
  'trusted_issuer.created': done('A trusted issuer is created.', trusted),
  'trusted_issuer.updated': done('A trusted issuer is changed.', { ...changed, ...trusted }),
  'trusted_issuer.disabled': done('A trusted issuer is disabled.', { issuer }),
  'trusted_issuer.enabled': done('A disabled trusted issuer is enabled again.', { issuer }),
  'trusted_issuer.deleted': done('A trusted issuer is deleted.', { issuer }),
  'subject.linked': done('A subject of a trusted issuer is linked to an account.', link),
  'subject.unlinked': done('The link of a subject to an account is removed.', link),
  'exchange_policy.created': done('A policy for token exchange is created.', exchange),
  'exchange_policy.updated': done('A policy for token exchange is changed.', { ...changed, ...exchange }),
  'exchange_policy.deleted': done('A policy for token exchange is deleted.', exchange),
  'assertion_policy.created': done('A policy for the JWT bearer grant is created.', exchange),
  'assertion_policy.updated': done('A policy for the JWT bearer grant is changed.', { ...changed, ...exchange }),
  'assertion_policy.deleted': done('A policy for the JWT bearer grant is deleted.', exchange),
};

const message = { kind: text, message_id: text, attempts: number };
const key = { kid: text, alg: text };
const exportedFrom = { from: text.nullable(), to: text.nullable() };

const SERVER = {
  'message.delivered': done('A message for a client, or a mail for a person, is delivered.', message),
  'message.failed': alarm(
    'The server stops trying to deliver a message for a client, or a mail. Earlier attempts are only in the log.',
    {
      ...message,
      reason: text,
    },
  ),
  'signing_key.created': done('A signing key is created.', key),
  'signing_key.rotated': done('The next signing key becomes the current one.', {
    ...key,
    previous: text.describe('The kid of the previous current key.'),
    next: text.describe('The kid of the new next key.'),
    reason: text,
    emergency: flag.describe('Whether the previous key was removed at once.'),
  }),
  'signing_key.removed': done('A signing key is removed, because no valid token needs it.', key),
  'master_key.changed': done('Data keys are wrapped again with another master key.', {
    rewrapped: number.describe('The number of data keys.'),
  }),
  'admin_call.refused': refusal('The admin API refuses a call.', {
    method: text,
    path: text.nullable().describe('The path of the route, with parameters in braces.'),
    status: number,
    reason: text,
  }),
  'audit.exported': done('An admin or an operator exports a range of the trail.', {
    ...exportedFrom,
    evidence: flag.optional().describe('Whether the export includes the proof.'),
    request_id: text.optional(),
    client_id: text.optional(),
    account_id: text.optional(),
    actor_type: text.optional(),
    actor_id: text.optional(),
    address: text.optional(),
    resource: text.optional(),
    event: text.optional(),
    outcome: text.optional(),
  }),
  'audit.set_back': done(
    'The database lacks entries that a node wrote before a failover or a restore. The chain continues without them.',
    {
      lost_streams: number,
      lost_entries: number,
      lost_checkpoint: number.nullable().describe('The number of the last checkpoint, if the database lost it.'),
      lost_checkpoint_hash: text.nullable(),
      continues_after_checkpoint: number.nullable(),
    },
  ),
  'recovery.began': done('An operator begins `gatehouse recover`.', {
    reason: text,
    keeps_logins: flag,
    rotates_keys: flag,
  }),
  'recovery.completed': done(
    '`gatehouse recover` has ended all earlier access. The numbers count the objects that it changed.',
    {
      reason: text,
      clients: number,
      grants: number,
      sessions: number,
      initial_access_tokens: number,
      keys: number,
    },
  ),
  'audit.entries_dropped': done('A month of entries older than the retention time is dropped.', {
    before: time.describe('All entries before this time are removed.'),
  }),
};

/** The events, grouped by subject. */
export const SECTIONS = {
  'Tokens and grants': TOKENS,
  'Devices and approvals elsewhere': DEVICES,
  People: PEOPLE,
  Clients: CLIENTS,
  Resources: RESOURCES,
  'Roles and groups': ROLES,
  'Trust in others': TRUST,
  'The server': SERVER,
} satisfies Readonly<Record<string, Readonly<Record<string, { readonly details: Details }>>>>;

export const CATALOGUE = { ...TOKENS, ...DEVICES, ...PEOPLE, ...CLIENTS, ...RESOURCES, ...ROLES, ...TRUST, ...SERVER };

export type EventName = keyof typeof CATALOGUE;
/** Events whose repeated refusals are counted in one entry. */
export const COUNTED_NAMES = (Object.keys(CATALOGUE) as EventName[]).filter((name) => CATALOGUE[name].counted);
export const EVENT_NAMES = Object.keys(CATALOGUE) as [EventName, ...EventName[]];

/** The details of an event. */
export type DetailsOf<N extends EventName> = z.input<z.ZodObject<(typeof CATALOGUE)[N]['details'], z.core.$strict>>;

type Detailed<D> =
  Record<string, never> extends D ? { readonly details?: Readonly<D> | undefined } : { readonly details: Readonly<D> };

/** One of these events with its details. */
export type EventOf<N extends EventName> = {
  [E in N]: {
    readonly event: E;
    readonly outcome: (typeof CATALOGUE)[E]['outcomes'][number];
  } & Detailed<DetailsOf<E>>;
}[N];

/** The strict schema of an event's details. Built at each call, so it is for documents and tests only. */
export function detailsSchema(name: EventName): z.ZodObject {
  return z.strictObject(CATALOGUE[name].details);
}
