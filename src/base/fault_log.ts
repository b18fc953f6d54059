/**
 * Log lines about lasting faults: one when a fault begins, one an hour while it lasts, with the number of failures, and
 * one when it ends. The failures in between are logged at level debug.
 */
import { LRUCache } from 'lru-cache';

/** The part of a logger that this needs. */
export interface FaultLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface FaultMessages {
  readonly begins: string;
  readonly goesOn: string;
  readonly ends: string;
}

interface Fault {
  readonly beganAt: number;
  loggedAt: number;
  times: number;
}

const HOUR_MILLISECONDS = 3_600_000;
/** Beyond this number of faulty places, a fault may be logged as new again. */
const PLACES_AT_MOST = 1_000;

export class FaultLog {
  readonly #log: FaultLogger;
  readonly #messages: FaultMessages;
  readonly #now: () => number;
  readonly #faults = new LRUCache<string, Fault>({ max: PLACES_AT_MOST });

  /** `now` returns milliseconds. */
  constructor(log: FaultLogger, messages: FaultMessages, now: () => number = () => performance.now()) {
    this.#log = log;
    this.#messages = messages;
    this.#now = now;
  }

  /** Notes that the place failed. */
  failed(place: string, fields: object): void {
    const now = this.#now();
    const fault = this.#faults.get(place);
    if (!fault) {
      this.#faults.set(place, { beganAt: now, loggedAt: now, times: 1 });
      this.#log.warn(fields, this.#messages.begins);
      return;
    }
    fault.times++;
    if (now - fault.loggedAt < HOUR_MILLISECONDS) {
      this.#log.debug(fields, this.#messages.begins);
      return;
    }
    fault.loggedAt = now;
    this.#log.warn({ ...fields, ...lengthOf(fault, now) }, this.#messages.goesOn);
  }

  /** Notes that the place works; logs it if the place had failed before. */
  worked(place: string, fields: object): void {
    const fault = this.#faults.get(place);
    if (!fault) return;
    this.#faults.delete(place);
    this.#log.info({ ...fields, ...lengthOf(fault, this.#now()) }, this.#messages.ends);
  }
}

function lengthOf({ beganAt, times }: Fault, now: number): { times: number; seconds: number } {
  return { times, seconds: Math.round((now - beganAt) / 1_000) };
}
