/**
 * Counts refusals that a sender can cause without limit. The first five of a kind per client, network and hour get
 * their own entries. Later ones within the hour are counted in memory and become one entry when the hour ends or the
 * process stops. Successes, and decisions of a person or an operator, are never counted in this way (catalogue.ts).
 */
import type { Clock } from '../base/clock.ts';
import { CATALOGUE } from './catalogue.ts';
import type { AuditEvent, Origin } from './events.ts';

export interface RepeatedRefusalsSettings {
  readonly clock: Clock;
  /** The network of an address. */
  readonly networkOf: (address: string) => string;
  readonly record: (origin: Origin, event: AuditEvent) => Promise<void>;
}

/** The number of separate entries of one kind per client, network and hour. */
const OWN_ENTRIES = 5;
const WINDOW_MILLISECONDS = 3_600_000;
/** The number of counts in a process; beyond it, refusals are counted for all clients and networks together. */
const COUNTS_AT_MOST = 5_000;
/** The number of counts for one network; beyond it, refusals are counted for all its clients together. */
const COUNTS_OF_A_NETWORK = 100;
const LONGEST_TEXT_CHARACTERS = 1_000;

interface RefusalTime {
  readonly requestId: string | null;
  readonly at: string;
}

/** The refusals of one kind within an hour. */
interface Count {
  readonly began: number;
  readonly network: string | null;
  /** Whether all counted refusals have the same client and account. */
  readonly ofOneClient: boolean;
  ownEntries: number;
  /** Refusals without a separate entry. */
  repeated: number;
  first?: RefusalTime;
  last?: { readonly seen: RefusalTime; readonly origin: Origin; readonly event: AuditEvent };
}

export class RepeatedRefusals {
  readonly #settings: RepeatedRefusalsSettings;
  /** Ordered by the start of their hour. */
  readonly #counts = new Map<string, Count>();
  readonly #ofNetworks = new Map<string, number>();
  /** Counts whose hour has ended and that are not written yet. */
  #ended: Count[] = [];

  constructor(settings: RepeatedRefusalsSettings) {
    this.#settings = settings;
  }

  /** Returns the events that get a separate entry, which the caller records; counts the others. */
  admitOrCount(origin: Origin, events: readonly AuditEvent[]): readonly AuditEvent[] {
    return events.filter((event) => !isCounted(event) || this.#admit(origin, event));
  }

  /** Records or counts a refusal. Returns whether it has a separate entry, by which its request can be found. */
  async record(origin: Origin, event: AuditEvent): Promise<boolean> {
    const [own] = this.admitOrCount(origin, [event]);
    if (own) await this.#settings.record(origin, own);
    return own !== undefined;
  }

  /** The number of refusals in memory that wait to be written as part of a count. */
  get waiting(): number {
    let sum = 0;
    for (const { repeated } of [...this.#counts.values(), ...this.#ended]) sum += repeated;
    return sum;
  }

  /** Writes the counts whose hour has ended, and with `all` also the others. Rejects if one can not be written. */
  async write(all = false): Promise<void> {
    const now = this.#settings.clock().getTime();
    for (const [key, count] of this.#counts) if (all || isOver(count, now)) this.#end(key, count);
    const counts = this.#ended;
    this.#ended = [];
    const written = await Promise.allSettled(counts.map((count) => this.#writeCount(count)));
    const failed = counts.filter((_, index) => written[index]?.status === 'rejected');
    this.#ended.push(...failed);
    const failure = written.find((one) => one.status === 'rejected');
    if (failure) throw failure.reason;
  }

  /** Counts the event and returns whether it gets a separate entry. */
  #admit(origin: Origin, event: AuditEvent): boolean {
    const now = this.#settings.clock();
    const count = this.#countFor(origin, event, now.getTime());
    if (count.ownEntries < OWN_ENTRIES) {
      count.ownEntries++;
      return true;
    }
    const seen: RefusalTime = { requestId: origin.requestId ?? null, at: now.toISOString() };
    count.repeated++;
    count.first ??= seen;
    count.last = { seen, origin, event };
    return false;
  }

  #countFor(origin: Origin, event: AuditEvent, now: number): Count {
    const network = origin.address === undefined ? null : this.#settings.networkOf(origin.address);
    const kind = kindOf(origin, event);
    const exact = JSON.stringify([kind, network, origin.actor.type, event.clientId, event.accountId]);
    const ofNetwork = JSON.stringify([kind, network]);
    const hasCapacity = this.#counts.size + this.#ended.length < COUNTS_AT_MOST;
    const networkHasCapacity = (this.#ofNetworks.get(network ?? '') ?? 0) < COUNTS_OF_A_NETWORK;
    return (
      this.#current(exact, now) ??
      (hasCapacity && networkHasCapacity ? this.#begin(exact, now, network, true) : undefined) ??
      this.#current(ofNetwork, now) ??
      (hasCapacity ? this.#begin(ofNetwork, now, network, false) : undefined) ??
      this.#current(kind, now) ??
      this.#begin(kind, now, null, false)
    );
  }

  #current(key: string, now: number): Count | undefined {
    const count = this.#counts.get(key);
    if (!count || !isOver(count, now)) return count;
    this.#end(key, count);
    return undefined;
  }

  #begin(key: string, began: number, network: string | null, ofOneClient: boolean): Count {
    const count: Count = { began, network, ofOneClient, ownEntries: 0, repeated: 0 };
    this.#counts.set(key, count);
    this.#ofNetworks.set(network ?? '', (this.#ofNetworks.get(network ?? '') ?? 0) + 1);
    return count;
  }

  #end(key: string, count: Count): void {
    this.#counts.delete(key);
    const network = count.network ?? '';
    const others = (this.#ofNetworks.get(network) ?? 1) - 1;
    if (others === 0) this.#ofNetworks.delete(network);
    else this.#ofNetworks.set(network, others);
    if (count.repeated > 0) this.#ended.push(count);
  }

  #writeCount({ first, last, repeated, network, ofOneClient }: Count): Promise<void> {
    if (!first || !last) return Promise.resolve();
    const { event, origin, seen } = last;
    const details = {
      ...shortened(event.details ?? {}),
      repeated: {
        count: repeated,
        first_request_id: first.requestId,
        last_request_id: seen.requestId,
        first_at: first.at,
        last_at: seen.at,
        network,
      },
    };
    const { requestId } = origin;
    const subject = ofOneClient ? event : { ...event, clientId: undefined, accountId: undefined };
    const from: Origin = ofOneClient ? origin : { actor: { type: 'anonymous' }, requestId };
    // the details of a counted event include `repeated`, hence the cast
    return this.#settings.record(from, { ...subject, details } as AuditEvent);
  }
}

function isCounted({ event, outcome }: AuditEvent): boolean {
  return outcome === 'refused' && CATALOGUE[event].counted;
}

/** A kind is an event name and its code. For a known actor at the admin API it includes method and path. */
function kindOf({ actor }: Origin, { event, details = {} }: AuditEvent): string {
  const { error, reason, method, path } = details as Readonly<Record<string, unknown>>;
  const code = error ?? reason;
  return JSON.stringify(actor.type === 'anonymous' ? [event, code] : [event, code, method, path]);
}

function isOver({ began }: Count, now: number): boolean {
  return now - began >= WINDOW_MILLISECONDS;
}

function shortened(details: object): object {
  return Object.fromEntries(
    Object.entries(details).map(([name, value]: [string, unknown]) => [
      name,
      typeof value === 'string' ? value.slice(0, LONGEST_TEXT_CHARACTERS) : value,
    ]),
  );
}
