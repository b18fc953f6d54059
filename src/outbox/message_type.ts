/** A type of message: how it is delivered, by a request to a client or in another way, and how often that is tried. */
import type { Secret } from '../base/secret.ts';

export type MessageType = RequestType | OwnDeliveryType;

/** A message that is a request to a client's URL. */
export interface RequestType {
  readonly name: string;
  readonly retries: Retries;
  /** Builds the request, for each attempt; `undefined` if there is no longer a receiver or a need for the message. */
  build(message: Message, now: Date): Promise<OutgoingMessage | undefined>;
  /** Judges a status. A redirect is not followed; unless it is `refused`, it leads to another attempt. */
  judge(status: number): Verdict;
}

/** A message that its type delivers itself, such as a mail. Its receiver is no client. */
export interface OwnDeliveryType {
  readonly name: string;
  readonly retries: Retries;
  /** Delivers the message, well within the lease (`LEASE_SECONDS`). An error leads to another attempt. */
  deliver(message: Message, now: Date): Promise<OwnDelivery>;
}

export type OwnDelivery =
  | { readonly result: 'delivered' }
  /** There is nothing to deliver, or the delivery is of no interest to the audit trail. */
  | { readonly result: 'dropped' }
  | { readonly result: 'refused' | 'try_again'; readonly reason: string }
  /** The delivery was not tried, so no attempt is counted. */
  | { readonly result: 'not_now'; readonly reason: string; readonly waitSeconds: number };

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
  /** The receiver: a client, or for a message that its type delivers itself, what names the receiver there. */
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
