/**
 * Notes the work of each request to the nodes of this process: the statements that it sends to the database until it is
 * answered, and its computations of password hashes. Counts tell more about timing than a clock on a busy machine does.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import pg from 'pg';
import { Argon2id } from '../../../src/password_hashing/argon2id.ts';

export interface Work {
  readonly statements: readonly string[];
  readonly hashes: number;
}

interface Noted {
  readonly statements: string[];
  hashes: number;
  isAnswered: boolean;
}

/** The header of a request whose work is wanted. */
const MARK = 'x-test-work';

type Method = (...given: unknown[]) => unknown;

export class RequestWork {
  readonly #current = new AsyncLocalStorage<Noted>();
  readonly #noted = new Map<string, Noted>();
  readonly #undo: (() => void)[] = [];
  #marks = 0;

  constructor() {
    const begin = (message: unknown): void => {
      const { headers } = (message as { readonly request: IncomingMessage }).request;
      const noted = { statements: [], hashes: 0, isAnswered: false };
      if (typeof headers[MARK] === 'string') this.#noted.set(headers[MARK], noted);
      this.#current.enterWith(noted);
    };
    const end = (): void => {
      const noted = this.#current.getStore();
      if (noted) noted.isAnswered = true;
    };
    this.#subscribe('http.server.request.start', begin);
    this.#subscribe('http.server.response.finish', end);
    this.#watch(pg.Client.prototype, 'query', ([statement], { statements, isAnswered }) => {
      const text = typeof statement === 'string' ? statement : (statement as { readonly text?: string }).text;
      // what follows from the request afterwards is not part of its time
      if (!isAnswered && text !== undefined) statements.push(text);
    });
    for (const name of ['hash', 'verify']) this.#watch(Argon2id.prototype, name, (_, noted) => void noted.hashes++);
  }

  /** Sends one request, which has to carry the given headers, and returns its answer and its work. */
  async of<T>(
    send: (headers: Record<string, string>) => Promise<T>,
  ): Promise<{ readonly answer: T; readonly work: Work }> {
    const mark = String(++this.#marks);
    const answer = await send({ [MARK]: mark });
    const noted = this.#noted.get(mark);
    if (!noted) throw new Error('No node of this process got the request.');
    return { answer, work: { statements: [...noted.statements], hashes: noted.hashes } };
  }

  stop(): void {
    for (const undo of this.#undo) undo();
  }

  #subscribe(channel: string, listener: (message: unknown) => void): void {
    subscribe(channel, listener);
    this.#undo.push(() => unsubscribe(channel, listener));
  }

  #watch(prototype: object, name: string, see: (given: readonly unknown[], noted: Noted) => void): void {
    const methods = prototype as Record<string, Method>;
    const original = methods[name]!;
    const current = this.#current;
    methods[name] = function (this: unknown, ...given) {
      const noted = current.getStore();
      if (noted) see(given, noted);
      return original.apply(this, given);
    };
    this.#undo.push(() => (methods[name] = original));
  }
}
