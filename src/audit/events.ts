/**
 * The types of an audit event before it is written: its actor, its address and its subject. catalogue.ts defines the
 * events.
 */
import type { EventName, EventOf } from './catalogue.ts';

export type Actor =
  | { readonly type: 'client'; readonly id: string }
  | { readonly type: 'account'; readonly id: string }
  | { readonly type: 'system' }
  | { readonly type: 'anonymous' };

/** The sender of a request, its address and the request's id: the same for all events of one request. */
export interface Origin {
  readonly actor: Actor;
  readonly address?: string | undefined;
  readonly requestId?: string | undefined;
}

export const SYSTEM: Origin = { actor: { type: 'system' } };

/** The account and the client that an event is about. */
export interface About {
  readonly accountId?: string | undefined;
  readonly clientId?: string | undefined;
}

export type AuditEvent<N extends EventName = EventName> = EventOf<N> & About;

export interface OriginatedEvent {
  readonly origin: Origin;
  readonly event: AuditEvent;
}
