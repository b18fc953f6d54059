/** Determines the outcome of one attempt, from the receiver's status or from the reason why there was no response. */
import { EgressFailed } from '../egress/failure.ts';
import type { Reply } from '../egress/http_request.ts';
import type { DeliveryOutcome } from './message_rows.ts';
import { waitSeconds, type MessageType, type OwnDelivery, type RequestType } from './message_type.ts';

/** Reasons for which no request was sent, so that no attempt is counted, with the seconds until the next attempt. */
const NOT_SENT: Readonly<Partial<Record<string, number>>> = {
  /** This server has too many requests of its own. */
  busy: 1,
  /**
   * The circuit breaker of the destination is open; about this often it lets one request through
   * (egress/circuit_breakers.ts).
   */
  resting: 15,
};

/** Determines the outcome of one attempt that the type made itself. */
export function outcomeOfOwn(type: MessageType, attempts: number, delivery: OwnDelivery): DeliveryOutcome {
  switch (delivery.result) {
    case 'delivered':
    case 'dropped':
      return delivery;
    case 'refused':
      return { result: 'failed', reason: delivery.reason };
    case 'try_again':
      return tryAgain(type, attempts, delivery.reason);
    case 'not_now':
      return { ...delivery, result: 'postponed', uncounted: true };
  }
}

export async function outcomeOf(
  type: RequestType,
  attempts: number,
  answer: Promise<Pick<Reply, 'status'>>,
): Promise<DeliveryOutcome> {
  try {
    const { status } = await answer;
    const verdict = type.judge(status);
    if (verdict === 'delivered') return { result: 'delivered' };
    if (verdict === 'refused') return { result: 'failed', reason: `status ${status}` };
    return tryAgain(type, attempts, `status ${status}`);
  } catch (error) {
    if (!(error instanceof EgressFailed)) throw error;
    const { failure } = error;
    const { reason } = failure;
    if (failure.reason === 'redirect_refused' && type.judge(failure.status) === 'refused')
      return { result: 'failed', reason };
    const pauseSeconds = NOT_SENT[reason];
    if (pauseSeconds !== undefined) return { result: 'postponed', reason, waitSeconds: pauseSeconds, uncounted: true };
    return tryAgain(type, attempts, reason);
  }
}

/** Postpones the message until the attempts of its type are used up; then it fails. */
export function tryAgain({ retries }: MessageType, attempts: number, reason: string): DeliveryOutcome {
  if (attempts >= retries.attemptsAtMost) return { result: 'failed', reason };
  return { result: 'postponed', reason, waitSeconds: waitSeconds(attempts, retries, Math.random()), uncounted: false };
}
