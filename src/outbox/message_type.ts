/** What one kind of message is like: its request, how an answer is judged, and for how long it is tried. */
import type { Secret } from '../base/secret.ts';

export interface MessageType {
  readonly name: string;
  readonly retries: Retries;
  /** The request, made anew for each attempt; `undefined` where there is nobody left to tell. */
  build(message: Message, now: Date): Promise<OutgoingMessage | undefined>;
  /** What a status (never a redirect: those are not followed, and tried again) says about the message. */
  judge(status: number): Verdict;
}

export interface Retries {
  readonly attemptsAtMost: number;
  /** The wait after the first attempt; each later one is twice the one before. */
  readonly firstWaitSeconds: number;
  readonly longestWaitSeconds: number;
}

/** `refused`: the receiver has understood, and will not take it however often it comes. */
export type Verdict = 'delivered' | 'refused' | 'try_again';

/** A message as its kind sees it. */
export interface Message {
  /** The same at every attempt, so that a receiver can tell a second one of the same message. */
  readonly messageId: string;
  readonly clientId: string;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly secret: Secret | undefined;
}

/** A POST. */
export interface OutgoingMessage {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Whether an admin made the client that it is for (see egress.ts). */
  readonly vetted: boolean;
}

/**
 * How long to wait after the so-manieth attempt. `random` is between 0 and 1: half of the wait is left to it, so that
 * messages which failed together do not all come back together.
 */
export function waitSeconds(
  attempts: number,
  { firstWaitSeconds, longestWaitSeconds }: Retries,
  random: number,
): number {
  const doubled = Math.min(firstWaitSeconds * 2 ** (attempts - 1), longestWaitSeconds);
  return doubled * (0.5 + random / 2);
}
