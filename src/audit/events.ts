/** An audit event on its way into the trail: who did it, from where, about whom. What there is to say: catalogue.ts. */
import type { EventName, EventOf } from './catalogue.ts';

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

/** Whom an event is about. */
export interface About {
  readonly accountId?: string | undefined;
  readonly clientId?: string | undefined;
}

export type AuditEvent<N extends EventName = EventName> = EventOf<N> & About;

export interface OriginatedEvent {
  readonly origin: Origin;
  readonly event: AuditEvent;
}
