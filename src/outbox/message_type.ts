/** A type of message: how it builds its request, how it judges a status, and how often it is tried. */
import type { Secret } from '../base/secret.ts';

export interface MessageType {
  readonly name: string;
  readonly retries: Retries;
  /** Builds the request, for each attempt; `undefined` if there is no longer a receiver or a need for the message. */
  build(message: Message, now: Date): Promise<OutgoingMessage | undefined>;
  /** Judges a status. A redirect is not followed; unless it is `refused`, it leads to another attempt. */
  judge(status: number): Verdict;
}

export interface Retries {
  readonly attemptsAtMost: number;
  /** The wait after the first attempt; it doubles with each attempt. */
  readonly firstWaitSeconds: number;
  readonly longestWaitSeconds: number;
}

/** `refused`: the receiver understood the message and will never accept it. */
export type Verdict = 'delivered' | 'refused' | 'try_again';

/** A message as passed to its type. */
export interface Message {
  /** The same at each attempt, so that a receiver can detect a duplicate. */
  readonly messageId: string;
  readonly clientId: string;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly secret: Secret | undefined;
}

/** A POST request. */
export interface OutgoingMessage {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Whether an admin created the receiving client (see egress.ts). */
  readonly vetted: boolean;
}

/**
 * The wait in seconds after `attempts` attempts. `random` is between 0 and 1 and decides half of the wait, so that
 * messages that failed together are not sent again together.
 */
export function waitSeconds(
  attempts: number,
  { firstWaitSeconds, longestWaitSeconds }: Retries,
  random: number,
): number {
  const doubled = Math.min(firstWaitSeconds * 2 ** (attempts - 1), longestWaitSeconds);
  return doubled * (0.5 + random / 2);
}
