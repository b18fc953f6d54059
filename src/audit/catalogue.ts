/**
 * Every event that the audit trail knows: when it happens and what its details hold. The compiler checks each event
 * against its entry; docs/audit-events.md and the OpenAPI document are made from here. No detail is ever a secret.
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

const error = text.describe('The error code that the sender was answered with.');
const reason = text.optional().describe('The true reason, which the sender may not have been told.');
const refused = { error, reason };
const why = text.describe('Why, in the words of the one who did it.');
const retry_after_seconds = number.describe('For how long more requests are refused.');
const members = texts.describe('The members that were named in the change.');
const values = z.record(z.string(), z.unknown()).readonly();
const changed = {
  members,
  before: values.describe('The members that are different now, with their values before. Long values are cut.'),
  after: values.describe('The same members with their values after. One that is absent has no value.'),
};

const scope = text.optional().describe('Scopes, separated by spaces.');
const resources = texts.describe('Identifiers of resources.');
const authorization_details_types = texts.optional().describe('Types of rich authorization requests (RFC 9396).');
const asked = { scope, resources: resources.optional(), authorization_details_types };
const grant_id = text.optional().describe('A digest that names the grant, and is none of its tokens.');
const grant_type = text.optional();
const jti = text.optional().describe('The id of a JWT; an opaque token has none that could be written down.');
const request = text.describe('Names the request in the address of its page, /approve/{request}.');

const TOKENS = {
  'token.issued': done('A client receives a token.', {
    grant_type,
    resource: text.optional().describe('The audience.'),
    scope,
    authorization_details_types,
    jti,
    jkt: text.optional().describe('The thumbprint of the DPoP key that the token is bound to (RFC 9449).'),
    x5t_s256: text.optional().describe('The thumbprint of the certificate that the token is bound to (RFC 8705).'),
    expires_in_seconds: number.optional(),
    expires_at: time.optional(),
    generation: number.optional().describe('The client’s token generation, as the token carries it.'),
    with_refresh_token: flag,
    grant_id,
    policy_id: text.optional().describe('The policy that an exchange or an assertion was permitted by.'),
    subject: text.optional().describe('The subject of what was exchanged.'),
    issuer: text.optional().describe('The trusted issuer of what was exchanged.'),
    actor: text.optional().describe('Who acts for the subject.'),
    from_jti: text.optional().describe('The id of what was exchanged.'),
  }),
  'token.refused': refusal('The token endpoint refuses a request.', { grant_type, ...refused }),
  'token.undelivered': alarm(
    'The database may have used up a code or token for a request that was answered with 503. It may be used again.',
    { grant_type },
  ),
  'token.revoked': doneOrRefused('A client revokes a token, or is refused to.', {
    token_type: text.optional(),
    jti,
    error: error.optional(),
    reason,
  }),
  'token.introspected': refusal('The introspection endpoint refuses a request. Answers are not on record.', refused),
  'refresh_token.reused': alarm('A used refresh token comes again, and its whole family ends.', { grant_id }),
  'code.reused': alarm('A used authorization code comes again, and what it gave ends.', { grant_id }),
  'device_code.reused': alarm('A used device code comes again, and what it gave ends.', { grant_id }),
  'backchannel_request.reused': alarm('A used auth_req_id comes again, and what it gave ends.', { grant_id }),
  'request_uri.reused': refusal('A used request_uri of a pushed request comes again.', { grant_id }),
  'assertion.replayed': refusal('An assertion comes a second time.', {}),
  'dpop_proof.replayed': refusal('A DPoP proof comes a second time.', {}),
  'request_object.replayed': refusal('A request object comes a second time.', {}),
  'authorization_request.pushed': doneOrRefused('A client pushes an authorization request, or is refused to.', {
    ...asked,
    error: error.optional(),
    reason,
  }),
  'authorization.granted': done('A client is sent a code or tokens through a browser.', asked),
  'authorization.refused': refusal('An authorization, device or backchannel request is refused.', refused),
  'userinfo.refused': refusal('The userinfo endpoint refuses a request.', refused),
  'grant.revoked': done('A grant ends with all its tokens, before its time.', { grant_id }),
};

const DEVICES = {
  'device.requested': done('A device asks for a code.', asked),
  'device.confirmed': done('A person allows a device.', { scope, resources }),
  'device.denied': alarm('A person denies a device.', refused),
  'device.guessed': refusal('A person enters a user code that is unknown, used or expired.', {}),
  'device.throttled': refusal('Too many wrong user codes were entered.', { retry_after_seconds }),
  'backchannel_authentication.requested': done('A client asks a person for approval (CIBA).', {
    request,
    scope,
    resources,
    expires_at: time,
  }),
  'backchannel_authentication.approved': done('The person approves.', { request, scopes: texts }),
  'backchannel_authentication.denied': alarm('The person denies.', { request }),
};

const PEOPLE = {
  'account.created': done('An account is made.', {}),
  'account.updated': done('An account is changed. What it says about its person is not on record.', {
    members,
    before: values.describe('`email_verified` where it is different now.'),
    after: values.describe('The same after the change.'),
  }),
  'account.disabled': done('An account is disabled; its sessions and grants end.', {}),
  'account.enabled': done('A disabled account is enabled again.', {}),
  'account.deleted': done('An account is deleted, with its sessions and grants.', {}),
  'account.password_changed': done('An account has a new password; its sessions and grants end.', {}),
  'login.succeeded': done('A person logs in.', { amr: texts.describe('How (RFC 8176).') }),
  'login.failed': refusal('A person, or a program that guesses, fails to log in.', {
    reason: z.enum(['unknown_account', 'wrong_password', 'account_disabled']),
  }),
  'login.throttled': refusal('Too many attempts to log in have failed.', { retry_after_seconds }),
  'logout.completed': done('A person logs out.', {}),
  'logout.refused': refusal('A request to log out is refused.', refused),
  'session.ended': done('A session is ended from outside: by its person on another device, or by an admin.', {
    session_id: text,
    all: flag.optional().describe('Whether all sessions of the account were ended in one call.'),
  }),
  'consent.given': done('A person allows a client what it asks for.', {
    scopes: texts,
    authorization_details_types,
    remembered: flag,
  }),
  'consent.denied': alarm('A person denies a client what it asks for.', {}),
  'consent.withdrawn': done('A person, or an admin, takes back what a client was allowed.', {}),
};

const rights = {
  grant_types: texts,
  token_endpoint_auth_method: text,
  redirect_uris: texts,
  resources: texts.describe('Each with the scopes that the client may ask for, separated by spaces.'),
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
  resources: texts.describe('Each with the scopes that clients may ask for, separated by spaces.'),
};

const CLIENTS = {
  'client.created': done('A client is made.', rights),
  'client.updated': done('A client is changed. Its rights are those after the change.', { ...changed, ...rights }),
  'client.deleted': done('A client is deleted, with its grants.', {}),
  'client.pkce_exempted': done('A client need not use PKCE any more.', { reason: why }),
  'client.pkce_exemption_ended': done('A client has to use PKCE again.', {}),
  'client.revoked': done('A client is revoked; its grants and tokens end.', { reason: why }),
  'client.restored': done('A revoked client is restored; its old tokens stay dead.', {}),
  'client.throttled': alarm('A client sends too many requests. Only the first refusal of a row is on record.', {
    retry_after_seconds,
  }),
  'client.authentication_throttled': alarm(
    'Authentication of a client, or from a network, fails too often. Only the first refusal of a row is on record.',
    { limit: text, reason, retry_after_seconds },
  ),
  'client.registered': done('A client registers itself.', {
    source: z.enum(['registration', 'metadata_document']),
    policy: policyName,
    initial_access_token_id: text.nullish(),
    software_statement_issuer: text.nullish(),
  }),
  'client.removed_unused': done('A client that registered itself is removed, as it is not used.', {
    policy: policyName,
    unused_seconds: number,
    reason: text.describe('unused, never_used or room_needed.'),
  }),
  'registration.refused': refusal('A registration, or a call that manages one, is refused.', refused),
  'registration.throttled': alarm('Too many registrations come. Only the first refusal of a row is on record.', {
    limit: text.optional(),
    retry_after_seconds: number.optional(),
  }),
  'registration_policy.created': done('A registration policy is made.', registrationPolicy),
  'registration_policy.updated': done('A registration policy is changed. Its rights are those after the change.', {
    ...changed,
    ...registrationPolicy,
  }),
  'registration_policy.deleted': done('A registration policy is deleted.', { policy: policyName }),
  'initial_access_token.created': done('An initial access token is made.', {
    token_id: text,
    policy: policyName,
    uses: number,
    expires_at: time,
  }),
  'initial_access_token.revoked': done('An initial access token ends before its time.', {
    token_id: text,
    policy: policyName,
  }),
  'secret.created': done('A client is given a secret.', {
    secret_id: text.describe('Names the secret, and is no part of it.'),
    expires_at: time.nullable(),
    overlap_seconds: number.optional().describe('For how long the secrets before it stay valid.'),
    previous: texts.describe('The ids of the secrets before it.'),
  }),
  'secret.ended': done('A secret ends before its time.', { secret_id: text }),
};

const resource = text.describe('The identifier of the resource.');
const type = text.describe('The type of rich authorization requests.');

const RESOURCES = {
  'resource.created': done('A resource is made.', { resource, scopes: texts }),
  'resource.updated': done('A resource is changed. Its scopes are those after the change.', {
    resource,
    ...changed,
    scopes: texts,
  }),
  'resource.deleted': done('A resource is deleted.', { resource }),
  'authorization_details_type.created': done('A type is made.', { type, resources }),
  'authorization_details_type.updated': done('A type is changed. Its resources are those after the change.', {
    type,
    ...changed,
    resources,
  }),
  'authorization_details_type.deleted': done('A type is deleted.', { type }),
};

const issuer = text.describe('The trusted issuer.');
const trusted = { issuer, algs: texts, purposes: texts };
const link = { link_id: text, issuer, subject: text.describe('What the issuer calls the account.') };
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
  'trusted_issuer.created': done('An issuer is trusted.', trusted),
  'trusted_issuer.updated': done('A trusted issuer is changed.', { ...changed, ...trusted }),
  'trusted_issuer.disabled': done('A trusted issuer is not trusted for now.', { issuer }),
  'trusted_issuer.enabled': done('A disabled issuer is trusted again.', { issuer }),
  'trusted_issuer.deleted': done('An issuer is not trusted any more.', { issuer }),
  'subject.linked': done('A subject of a trusted issuer is linked to an account.', link),
  'subject.unlinked': done('Such a link is taken away.', link),
  'exchange_policy.created': done('A policy for token exchange is made.', exchange),
  'exchange_policy.updated': done('A policy for token exchange is changed.', { ...changed, ...exchange }),
  'exchange_policy.deleted': done('A policy for token exchange is deleted.', exchange),
  'assertion_policy.created': done('A policy for the JWT bearer grant is made.', exchange),
  'assertion_policy.updated': done('A policy for the JWT bearer grant is changed.', { ...changed, ...exchange }),
  'assertion_policy.deleted': done('A policy for the JWT bearer grant is deleted.', exchange),
};

const message = { kind: text, message_id: text, attempts: number };
const key = { kid: text, alg: text };
const exportedFrom = { from: text.nullable(), to: text.nullable() };

const SERVER = {
  'message.delivered': done('A message for a client is delivered.', message),
  'message.failed': alarm('A message for a client is given up. Attempts before the last are only in the log.', {
    ...message,
    reason: text,
  }),
  'signing_key.created': done('A signing key is made.', key),
  'signing_key.rotated': done('The next key signs from now on.', {
    ...key,
    previous: text.describe('The kid of the key that signed until now.'),
    next: text.describe('The kid of the key that will follow.'),
    reason: text,
    emergency: flag.describe('Whether the previous key was removed at once.'),
  }),
  'signing_key.removed': done('A signing key is removed, as no living token needs it.', key),
  'master_key.changed': done('Data keys are sealed anew under another master key.', {
    rewrapped: number.describe('How many.'),
  }),
  'admin_call.refused': refusal('The admin API refuses a call.', {
    method: text,
    path: text.nullable().describe('With parameters in braces.'),
    status: number,
    reason: text,
  }),
  'audit.exported': done('An admin or operator exports a range of the trail.', {
    ...exportedFrom,
    evidence: flag.optional().describe('Whether with the proof.'),
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
    'A node had written entries that the database lacks since a fail-over or a restore. The chain goes on without them.',
    {
      lost_streams: number,
      lost_entries: number,
      lost_checkpoint: number.nullable().describe('The number of the last checkpoint, where it was lost.'),
      lost_checkpoint_hash: text.nullable(),
      continues_after_checkpoint: number.nullable(),
    },
  ),
  'recovery.began': done('An operator begins `gatehouse recover`.', {
    reason: text,
    keeps_logins: flag,
    rotates_keys: flag,
  }),
  'recovery.completed': done('`gatehouse recover` has ended what was given before. The numbers say how much.', {
    reason: text,
    clients: number,
    grants: number,
    sessions: number,
    initial_access_tokens: number,
    keys: number,
  }),
  'audit.entries_dropped': done('A month is dropped that is older than the operator wants kept.', {
    before: time.describe('All entries from before are gone.'),
  }),
};

/** The events by what they are about. */
export const SECTIONS = {
  'Tokens and grants': TOKENS,
  'Devices and approvals elsewhere': DEVICES,
  People: PEOPLE,
  Clients: CLIENTS,
  Resources: RESOURCES,
  'Trust in others': TRUST,
  'The server': SERVER,
} satisfies Readonly<Record<string, Readonly<Record<string, { readonly details: Details }>>>>;

export const CATALOGUE = { ...TOKENS, ...DEVICES, ...PEOPLE, ...CLIENTS, ...RESOURCES, ...TRUST, ...SERVER };

export type EventName = keyof typeof CATALOGUE;
/** Events that many of one sender can become one entry of. */
export const COUNTED_NAMES = (Object.keys(CATALOGUE) as EventName[]).filter((name) => CATALOGUE[name].counted);
export const EVENT_NAMES = Object.keys(CATALOGUE) as [EventName, ...EventName[]];

/** What the details of an event may hold. */
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

/** The schema of an event's details, which nothing else may be in. Made anew at each call: it is for documents and tests. */
export function detailsSchema(name: EventName): z.ZodObject {
  return z.strictObject(CATALOGUE[name].details);
}
