/** Every event there is. `noun.verb_past`; what each one's details hold is said beside it. No detail is ever a secret. */

export type EventName =
  // tokens and grants
  // traded tokens also: policy_id, subject, issuer, actor, from_jti
  | 'token.issued' // grant_type, resource, scope, authorization_details_types, jti, jkt, x5t_s256, expires_in_seconds, expires_at, generation, with_refresh_token, grant_id
  | 'token.refused' // grant_type, error, reason
  | 'token.revoked' // token_type, jti
  | 'token.introspected' // only where refused: error, reason
  | 'refresh_token.reused' // grace: whether within the grace window
  | 'code.reused'
  | 'device_code.reused'
  | 'assertion.replayed'
  | 'dpop_proof.replayed'
  | 'authorization_request.pushed' // scope, resources, authorization_details_types; where refused: error, reason
  | 'request_uri.reused'
  | 'authorization.granted' // scope, resources, authorization_details_types
  | 'authorization.refused' // error, reason
  // devices without a browser; polls that find nothing decided yet are in no trail: nothing was decided
  | 'device.requested' // scope, resources
  | 'device.confirmed' // scope, resources
  | 'device.denied' // error, reason
  | 'device.guessed' // a code was entered that nobody waits with: unknown, used or expired
  | 'device.throttled' // retry_after_seconds
  // backchannel authentication (CIBA); `request` names one in the address of its page, /approve/{request}
  | 'backchannel_authentication.requested' // request, scope, resources, expires_at
  | 'backchannel_authentication.approved' // request, scopes
  | 'backchannel_authentication.denied' // request
  | 'backchannel_request.reused'
  | 'request_object.replayed'
  | 'userinfo.refused' // error, reason
  | 'grant.revoked'
  // people
  | 'account.created'
  | 'account.updated' // members
  | 'account.disabled'
  | 'account.enabled'
  | 'account.deleted'
  | 'account.password_changed'
  | 'login.succeeded'
  | 'login.failed' // reason: unknown_account, wrong_password, account_disabled
  | 'login.throttled' // retry_after_seconds
  | 'logout.completed'
  | 'logout.refused' // error, reason
  | 'session.ended' // session_id, all: whether all sessions of the account were ended in one call
  | 'consent.given' // scopes, authorization_details_types, remembered
  | 'consent.denied'
  | 'consent.withdrawn'
  // clients and what they may ask for
  | 'client.created'
  | 'client.updated' // members
  | 'client.deleted'
  | 'client.pkce_exempted' // reason
  | 'client.pkce_exemption_ended'
  | 'client.revoked' // reason
  | 'client.restored'
  | 'client.throttled' // retry_after_seconds; the first of a row
  | 'client.authentication_throttled' // limit, reason, retry_after_seconds; the first of a row, on whichever node
  | 'client.registered' // by itself: source, policy, initial_access_token_id, software_statement_issuer
  | 'client.removed_unused' // policy, unused_seconds
  | 'registration.refused' // error, reason
  | 'registration.throttled' // limit, retry_after_seconds; the first of a row, on whichever node
  | 'registration_policy.created' // policy, and what it allows
  | 'registration_policy.updated' // policy, members, and what it allows
  | 'registration_policy.deleted' // policy
  | 'initial_access_token.created' // token_id, policy, uses, expires_at
  | 'initial_access_token.revoked' // token_id, policy
  | 'secret.created' // secret_id, expires_at, previous
  | 'secret.ended' // secret_id
  | 'resource.created'
  | 'resource.updated' // members
  | 'resource.deleted'
  // others whose statements count here
  | 'trusted_issuer.created' // issuer, algs, purposes
  | 'trusted_issuer.updated' // issuer, members, algs, purposes
  | 'trusted_issuer.disabled' // issuer
  | 'trusted_issuer.enabled' // issuer
  | 'trusted_issuer.deleted' // issuer
  | 'subject.linked' // link_id, issuer, subject
  | 'subject.unlinked' // link_id, issuer, subject
  | 'exchange_policy.created' // policy_id, subject_resource or subject_issuer and subject_account, resource, scopes, mode
  | 'exchange_policy.updated' // the same, and members
  | 'exchange_policy.deleted'
  | 'assertion_policy.created' // policy_id, subject_issuer, subject_account, resource, scopes
  | 'assertion_policy.updated' // the same, and members
  | 'assertion_policy.deleted'
  // messages to clients (src/outbox); attempts that are followed by another one are in the log alone
  | 'message.delivered' // kind, message_id, attempts
  | 'message.failed' // kind, message_id, attempts, reason
  | 'authorization_details_type.created' // type, resources
  | 'authorization_details_type.updated' // type, members, resources
  | 'authorization_details_type.deleted' // type
  // the house
  | 'signing_key.created' // kid, alg
  | 'signing_key.rotated' // kid, alg, previous, reason, emergency
  | 'signing_key.removed' // kid, alg
  | 'master_key.changed' // rewrapped
  | 'admin_call.refused' // method, path, status, reason
  | 'audit.exported' // from, to, and what it was narrowed to
  | 'audit.entries_dropped'; // before: what is older was older than the operator wants kept

export type Actor =
  | { readonly type: 'client'; readonly id: string }
  | { readonly type: 'account'; readonly id: string }
  | { readonly type: 'system' }
  | { readonly type: 'anonymous' };

/** Who asks, from where, in which request: the same for every event of one request. */
export interface Origin {
  readonly actor: Actor;
  readonly address?: string | undefined;
  readonly requestId?: string | undefined;
}

export const SYSTEM: Origin = { actor: { type: 'system' } };

export type Detail = string | number | boolean | null | readonly string[] | undefined;

export interface AuditEvent {
  readonly event: EventName;
  readonly outcome: 'success' | 'refused';
  readonly accountId?: string | undefined;
  readonly clientId?: string | undefined;
  readonly details?: Readonly<Record<string, Detail>>;
}
