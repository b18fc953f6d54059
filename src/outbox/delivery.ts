/** What came of one attempt, from the receiver's answer or from why there was none. */
import { EgressFailed } from '../egress/failure.ts';
import type { Reply } from '../egress/http_request.ts';
import type { Outcome } from './message_rows.ts';
import { waitSeconds, type MessageType } from './message_type.ts';

/** Reasons for which no attempt was made, so that none is counted, and when the next one is due. */
const NOT_ASKED: Readonly<Partial<Record<string, number>>> = {
  /** This server had too much under way itself. */
  busy: 1,
  /** The place has failed for others just now: there is a try of it about as often (egress/places.ts). */
  resting: 15,
};

export async function outcomeOf(
  kind: MessageType,
  attempts: number,
  answer: Promise<Pick<Reply, 'status'>>,
): Promise<Outcome> {
  try {
    const { status } = await answer;
    const verdict = kind.judge(status);
    if (verdict === 'delivered') return { result: 'delivered' };
    if (verdict === 'refused') return { result: 'failed', reason: `status ${status}` };
    return tryAgain(kind, attempts, `status ${status}`);
  } catch (error) {
    if (!(error instanceof EgressFailed)) throw error;
    const { reason } = error.failure;
    const soon = NOT_ASKED[reason];
    if (soon !== undefined) return { result: 'postponed', reason, waitSeconds: soon, uncounted: true };
    return tryAgain(kind, attempts, reason);
  }
}

/** Until the attempts of its kind are used up. */
export function tryAgain({ retries }: MessageType, attempts: number, reason: string): Outcome {
  if (attempts >= retries.attemptsAtMost) return { result: 'failed', reason };
  return { result: 'postponed', reason, waitSeconds: waitSeconds(attempts, retries, Math.random()), uncounted: false };
}
