/** Every event there is. `noun.verb_past`; what each one's details hold is said beside it. No detail is ever a secret. */

export type EventName =
  // tokens and grants
  | 'token.issued' // grant_type, resource, scope, jti, jkt, expires_in_seconds, expires_at, generation, with_refresh_token, grant_id
  | 'token.refused' // grant_type, error, reason
  | 'token.revoked' // token_type, jti
  | 'token.introspected' // only where refused: error, reason
  | 'refresh_token.reused' // grace: whether within the grace window
  | 'code.reused'
  | 'device_code.reused'
  | 'assertion.replayed'
  | 'dpop_proof.replayed'
  | 'authorization_request.pushed' // scope, resources; where refused: error, reason
  | 'request_uri.reused'
  | 'authorization.granted' // scope, resources
  | 'authorization.refused' // error, reason
  // devices without a browser; polls that find nothing decided yet are in no trail: nothing was decided
  | 'device.requested' // scope, resources
  | 'device.confirmed' // scope, resources
  | 'device.denied' // error, reason
  | 'device.guessed' // a code was entered that nobody waits with: unknown, used or expired
  | 'device.throttled' // retry_after_seconds
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
  | 'session.ended'
  | 'consent.given' // scopes, remembered
  | 'consent.denied'
  | 'consent.withdrawn'
  // clients and what they may ask for
  | 'client.created'
  | 'client.updated' // members
  | 'client.deleted'
  | 'client.revoked' // reason
  | 'client.restored'
  | 'secret.created' // secret_id, expires_at, previous
  | 'secret.ended' // secret_id
  | 'resource.created'
  | 'resource.updated' // members
  | 'resource.deleted'
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
