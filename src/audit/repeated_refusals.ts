/**
 * Counts refusals that a sender can cause without limit. The first five of a kind per client, network and hour get
 * their own entries. Later ones within the hour are counted in memory and become one entry when the hour ends or the
 * process stops. Successes, and decisions of a person or an operator, are never counted in this way (catalogue.ts).
 */
import type { Clock } from '../base/clock.ts';
import { CATALOGUE } from './catalogue.ts';
import { BATCH_LIMIT } from './chain.ts';
import type { AuditEvent, Origin, OriginatedEvent } from './events.ts';

export interface RepeatedRefusalsSettings {
  readonly clock: Clock;
  /** The network of an address. */
  readonly networkOf: (address: string) => string;
  readonly record: (origin: Origin, event: AuditEvent) => Promise<void>;
  /** Returns a function that writes the records once, however often it is called (trail.ts). */
  readonly keep: (records: readonly OriginatedEvent[]) => () => Promise<void>;
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

export interface Sifted {
  /** The events that get a separate entry, which the caller records. */
  readonly own: readonly AuditEvent[];
  /** Counts the other events, once the request is answered with its refusal. */
  count(): void;
  /** Returns the places of the events if the request gets another answer because they could not be recorded. */
  giveBack(): void;
}

/** Counts that are written together, and may have been sent before. */
interface Sent {
  readonly counts: readonly Count[];
  readonly write: () => Promise<void>;
}

export class RepeatedRefusals {
  readonly #settings: RepeatedRefusalsSettings;
  /** Ordered by the start of their hour. */
  readonly #counts = new Map<string, Count>();
  readonly #ofNetworks = new Map<string, number>();
  /** Counts whose hour has ended and that are not sent yet. */
  readonly #ended: Count[] = [];
  readonly #sent: Sent[] = [];

  constructor(settings: RepeatedRefusalsSettings) {
    this.#settings = settings;
  }

  /** Separates the events with an entry of their own from those to count. The caller then calls `count` or `giveBack`. */
  sift(origin: Origin, events: readonly AuditEvent[]): Sifted {
    const admitting: Count[] = [];
    const own = events.filter((event) => !isCounted(event) || this.#admit(origin, event, admitting));
    return {
      own,
      count: () => {
        if (own.length < events.length)
          for (const event of events) if (!own.includes(event)) this.#count(origin, event);
      },
      giveBack: () => {
        for (const count of admitting) count.ownEntries--;
      },
    };
  }

  /** Records or counts a refusal. Returns whether it has a separate entry, by which its request can be found. */
  async record(origin: Origin, event: AuditEvent): Promise<boolean> {
    const sifted = this.sift(origin, [event]);
    const [own] = sifted.own;
    try {
      if (own) await this.#settings.record(origin, own);
    } catch (error) {
      sifted.giveBack();
      throw error;
    }
    sifted.count();
    return own !== undefined;
  }

  /** The number of refusals in memory that wait to be written as part of a count. */
  get waiting(): number {
    let sum = 0;
    const sent = this.#sent.flatMap(({ counts }) => counts);
    for (const { repeated } of [...this.#counts.values(), ...this.#ended, ...sent]) sum += repeated;
    return sum;
  }

  /** Writes the counts whose hour has ended, and with `all` also the others. Rejects if one can not be written. */
  async write(all = false): Promise<void> {
    const now = this.#settings.clock().getTime();
    for (const [key, count] of this.#counts) if (all || isOver(count, now)) this.#end(key, count);
    while (this.#ended.length > 0) {
      const counts = this.#ended.splice(0, BATCH_LIMIT);
      this.#sent.push({ counts, write: this.#settings.keep(counts.flatMap(recordOf)) });
    }
    const sent = this.#sent.splice(0);
    const written = await Promise.allSettled(sent.map(({ write }) => write()));
    this.#sent.push(...sent.filter((_, index) => written[index]?.status === 'rejected'));
    const failure = written.find((one) => one.status === 'rejected');
    if (failure) throw failure.reason;
  }

  get #countsKept(): number {
    return this.#sent.reduce((sum, { counts }) => sum + counts.length, this.#counts.size + this.#ended.length);
  }

  /** Returns whether the event gets a separate entry; adds the count that admits it to `admitting`. */
  #admit(origin: Origin, event: AuditEvent, admitting: Count[]): boolean {
    const count = this.#countFor(origin, event, this.#settings.clock().getTime());
    if (count.ownEntries >= OWN_ENTRIES) return false;
    count.ownEntries++;
    admitting.push(count);
    return true;
  }

  #count(origin: Origin, event: AuditEvent): void {
    const now = this.#settings.clock();
    const count = this.#countFor(origin, event, now.getTime());
    const seen: RefusalTime = { requestId: origin.requestId ?? null, at: now.toISOString() };
    count.repeated++;
    count.first ??= seen;
    count.last = { seen, origin, event };
  }

  #countFor(origin: Origin, event: AuditEvent, now: number): Count {
    const network = origin.address === undefined ? null : this.#settings.networkOf(origin.address);
    const kind = kindOf(origin, event);
    const exact = JSON.stringify([kind, network, origin.actor.type, event.clientId, event.accountId]);
    const ofNetwork = JSON.stringify([kind, network]);
    const hasCapacity = this.#countsKept < COUNTS_AT_MOST;
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
}

function recordOf({ first, last, repeated, network, ofOneClient }: Count): OriginatedEvent[] {
  if (!first || !last) return [];
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
  const whose = ofOneClient ? event : { ...event, clientId: undefined, accountId: undefined };
  const from: Origin = ofOneClient ? origin : { actor: { type: 'anonymous' }, requestId };
  // an event that is counted takes `repeated`, hence the type
  return [{ origin: from, event: { ...whose, details } as AuditEvent }];
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
