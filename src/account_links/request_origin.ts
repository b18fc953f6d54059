/** The origin of a request that the outbox completes: it is stored with the message, for the audit trail. */
import type { Actor, Origin } from '../audit/events.ts';

export interface RequestOrigin {
  readonly accountId?: string | undefined;
  readonly address: string;
  readonly requestId: string;
}

export function requestPayload({ accountId, address, requestId }: RequestOrigin): Record<string, string> {
  return { ...(accountId !== undefined && { account_id: accountId }), address, request_id: requestId };
}

export function originOfRequest(payload: Readonly<Record<string, unknown>>): Origin {
  const { account_id: accountId, address, request_id: requestId } = payload;
  const actor: Actor = typeof accountId === 'string' ? { type: 'account', id: accountId } : { type: 'anonymous' };
  return { actor, address: String(address), requestId: String(requestId) };
}
