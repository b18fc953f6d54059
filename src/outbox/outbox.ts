/**
 * Delivers messages to clients, and mails to people, at least once. The operation that causes a message writes it in its own transaction
 * (message.ts); any node sends it. A node claims messages in one statement and gets a lease: if the node dies, the
 * lease ends and another node sends them. A message that can't be delivered is tried again at growing intervals, up to
 * a limit of its type. Then it is marked as failed, kept for some days for the operator, and removed.
 *
 * Each node sends a client one message at a time, and at most half of the messages that it sends at once have a failed
 * attempt, so that slow receivers do not delay other receivers.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { SYSTEM } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { Clock } from '../base/clock.ts';
import { FaultLog } from '../base/fault_log.ts';
import type { Database } from '../db/connection.ts';
import type { Egress } from '../egress/egress.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { Logger } from '../log.ts';
import type { Vault } from '../vault/vault.ts';
import {
  claim,
  countMessages,
  openMessage,
  settle,
  type ClaimedMessage,
  type MessageCounts,
  type DeliveryOutcome,
} from './message_rows.ts';
import { outcomeOf, outcomeOfOwn, tryAgain } from './delivery.ts';
import type { MessageType } from './message_type.ts';

export interface OutboxSettings {
  readonly database: Database;
  readonly vault: Vault;
  readonly egress: Pick<Egress, 'post'>;
  readonly trail: AuditTrail;
  readonly clock: Clock;
  readonly log: Logger;
}

const AT_ONCE = 8;
/** The limit for messages with a failed attempt, because receivers that are down must not delay others. */
const RETRIES_AT_ONCE = 4;
/** The limit for messages to clients that registered themselves, which may be numerous and slow. */
const SELF_REGISTERED_AT_ONCE = 5;
/** The limit for messages to them with a failed attempt. The other half is for clients that an admin registered. */
const SELF_REGISTERED_AGAIN_AT_ONCE = 2;
/** The change log wakes a node for new messages. The poll finds messages whose next attempt is due. */
const POLL_MILLISECONDS = 1_000;
const COUNT_MILLISECONDS = 5_000;

type ReportedOutcome = DeliveryOutcome & {
  readonly kind: string;
  /** `undefined` for messages that their type delivers itself: they all depend on one server, such as that of mails. */
  readonly client_id?: string;
  readonly attempts: number;
};

/** `delivers`: whether this process sends messages. Only one process of a node does. */
export function createOutbox({ delivers, ...settings }: OutboxSettings & { readonly delivers: boolean }): {
  readonly outbox: Outbox;
  readonly feature: Feature;
} {
  const outbox = new Outbox(settings);
  const feature: Feature = {
    caches: [{ topic: 'outbox', onChange: () => outbox.wake() }],
    showMetrics(metrics) {
      metrics.gauge(
        'gatehouse_outbox_messages_waiting',
        'Messages to clients and mails, of all nodes, that are not delivered yet.',
        () => outbox.counts.waiting,
        'max',
      );
      metrics.gauge(
        'gatehouse_outbox_messages_failed',
        'Messages to clients and mails, of all nodes, that were given up in the last seven days.',
        () => outbox.counts.failed,
        'max',
      );
    },
    start: () => (delivers ? outbox.start() : undefined),
    stop: () => outbox.stop(),
  };
  return { outbox, feature };
}

export class Outbox {
  readonly #settings: OutboxSettings;
  readonly #kinds = new Map<string, MessageType>();
  readonly #underWay = new Map<string, Promise<void>>();
  #retriesUnderWay = 0;
  #selfRegisteredUnderWay = 0;
  #selfRegisteredAgainUnderWay = 0;
  readonly #faults: FaultLog;
  readonly #stopping = new AbortController();
  #awaken = Promise.withResolvers<void>();
  #loop: Promise<void> | undefined;
  #counts: MessageCounts = { waiting: 0, failed: 0 };
  #countedAt = -Infinity;

  constructor(settings: OutboxSettings) {
    this.#settings = settings;
    this.#faults = new FaultLog(settings.log, {
      begins: 'outbox.postponed',
      goesOn: 'outbox.still_postponed',
      ends: 'outbox.delivers_again',
    });
  }

  /** Makes this node send messages of this type. Without this call, only other nodes send them. */
  serve(kind: MessageType): void {
    this.#kinds.set(kind.name, kind);
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Stops claiming, and waits for the messages that are being sent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.wake();
    await this.#loop;
    await Promise.all(this.#underWay.values());
  }

  /** Checks for messages now. */
  wake(): void {
    this.#awaken.resolve();
  }

  /** The numbers of messages on all nodes together, a few seconds old. */
  get counts(): MessageCounts {
    return this.#counts;
  }

  async #run(): Promise<void> {
    const { log } = this.#settings;
    const { signal } = this.#stopping;
    // this fails every second while the database is away
    const unreadable = new FaultLog(log, {
      begins: 'outbox.unreadable',
      goesOn: 'outbox.still_unreadable',
      ends: 'outbox.readable_again',
    });
    while (!signal.aborted) {
      this.#awaken = Promise.withResolvers();
      const more = await this.#sendDue().catch((error: unknown) => {
        unreadable.failed('outbox', { error });
        return undefined;
      });
      if (more !== undefined) unreadable.worked('outbox', {});
      await this.#count().catch(() => {});
      if (more) continue;
      const timer = new AbortController();
      const pause = this.#counts.waiting > 0 || this.#underWay.size > 0 ? POLL_MILLISECONDS : COUNT_MILLISECONDS;
      const poll = delay(pause * (0.75 + Math.random() / 2), undefined, {
        signal: timer.signal,
        ref: false,
      });
      await Promise.race([this.#awaken.promise, poll.catch(() => {})]);
      timer.abort();
    }
  }

  /** Returns whether there may be more messages to send at once. */
  async #sendDue(): Promise<boolean> {
    const free = AT_ONCE - this.#underWay.size;
    if (free === 0 || this.#kinds.size === 0) return false;
    const { database, clock } = this.#settings;
    const claimed = await claim(database, {
      kinds: [...this.#kinds.keys()],
      exceptClients: [...this.#underWay.keys()],
      limit: free,
      againAtMost: RETRIES_AT_ONCE - this.#retriesUnderWay,
      selfRegisteredAtMost: SELF_REGISTERED_AT_ONCE - this.#selfRegisteredUnderWay,
      selfRegisteredAgainAtMost: SELF_REGISTERED_AGAIN_AT_ONCE - this.#selfRegisteredAgainUnderWay,
      now: clock(),
    });
    for (const message of claimed) {
      const again = message.attempts > 1 ? 1 : 0;
      const selfRegistered = message.selfRegistered ? 1 : 0;
      this.#retriesUnderWay += again;
      this.#selfRegisteredUnderWay += selfRegistered;
      this.#selfRegisteredAgainUnderWay += again * selfRegistered;
      const sending = this.#send(message).finally(() => {
        this.#retriesUnderWay -= again;
        this.#selfRegisteredUnderWay -= selfRegistered;
        this.#selfRegisteredAgainUnderWay -= again * selfRegistered;
        this.#underWay.delete(message.clientId);
        // a message with a failed attempt may need another one
        this.#countedAt = -Infinity;
        this.wake();
      });
      this.#underWay.set(message.clientId, sending);
    }
    return claimed.length > 0;
  }

  /** Never rejects. After an error, the lease ends and the message is sent again. */
  async #send(claimed: ClaimedMessage): Promise<void> {
    const { database, trail, clock, log } = this.#settings;
    const kind = this.#kinds.get(claimed.kind)!;
    const receiver = 'deliver' in kind ? {} : { client_id: claimed.clientId };
    const about = { message_id: claimed.messageId, kind: claimed.kind, ...receiver };
    log.debug({ ...about, attempts: claimed.attempts }, 'outbox.claimed');
    try {
      const outcome = await this.#attempt(kind, claimed).catch((error: unknown) => {
        log.error({ ...about, error }, 'outbox.attempt_broken');
        return tryAgain(kind, claimed.attempts, 'broken');
      });
      const isForClient = !('deliver' in kind);
      const settled = await settle(database, { ...claimed, isForClient }, outcome, {
        trail,
        origin: SYSTEM,
        now: clock(),
      });
      if (!settled) log.warn(about, 'outbox.lease_lost');
      else this.#report({ ...about, attempts: claimed.attempts, ...outcome });
    } catch (error) {
      log.warn({ ...about, error }, 'outbox.not_settled');
    }
  }

  /** Logs an unreachable receiver once, for all messages that wait for it. */
  #report(about: ReportedOutcome): void {
    const { log } = this.#settings;
    const receiver = `${about.kind} ${about.client_id ?? ''}`;
    // `busy` means that this node reached a limit, which is no failure of the receiver
    if (about.result === 'postponed' && about.reason !== 'busy') {
      this.#faults.failed(receiver, about);
      return;
    }
    if (about.result === 'delivered')
      this.#faults.worked(receiver, {
        kind: about.kind,
        ...(about.client_id !== undefined && { client_id: about.client_id }),
      });
    // the audit trail records the outcome of each message
    log[about.result === 'delivered' ? 'info' : 'debug'](about, `outbox.${about.result}`);
  }

  async #attempt(kind: MessageType, claimed: ClaimedMessage): Promise<DeliveryOutcome> {
    const { vault, egress, clock } = this.#settings;
    const now = clock();
    if (now >= claimed.expiresAt) return { result: 'failed', reason: 'expired' };
    // `attempts` includes those of nodes that ended during the attempt
    if (claimed.attempts > kind.retries.attemptsAtMost) return { result: 'failed', reason: 'given_up' };
    const message = await openMessage(vault, claimed);
    if ('deliver' in kind) return outcomeOfOwn(kind, claimed.attempts, await kind.deliver(message, now));
    const request = await kind.build(message, now);
    if (!request) return { result: 'dropped' };
    const { url, headers, body, vetted } = request;
    return outcomeOf(kind, claimed.attempts, egress.post(url, headers, body, { vetted }));
  }

  async #count(): Promise<void> {
    if (performance.now() - this.#countedAt < COUNT_MILLISECONDS) return;
    this.#countedAt = performance.now();
    this.#counts = await countMessages(this.#settings.database);
  }
}
