/** What came of one attempt, from the receiver's answer or from why there was none. */
import { EgressFailed } from '../egress/failure.ts';
import type { Reply } from '../egress/exchange.ts';
import type { Outcome } from './claims.ts';
import { waitSeconds, type Kind } from './kind.ts';

/** This server had too much under way: no attempt was made, and the next one is soon. */
const BUSY_WAIT_SECONDS = 1;

export async function outcomeOf(
  kind: Kind,
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
    if (reason === 'busy') return { result: 'postponed', reason, waitSeconds: BUSY_WAIT_SECONDS, uncounted: true };
    return tryAgain(kind, attempts, reason);
  }
}

/** Until the attempts of its kind are used up. */
export function tryAgain({ retries }: Kind, attempts: number, reason: string): Outcome {
  if (attempts >= retries.attemptsAtMost) return { result: 'failed', reason };
  return { result: 'postponed', reason, waitSeconds: waitSeconds(attempts, retries, Math.random()), uncounted: false };
}
