/**
 * Messages between the primary and the workers, over Node's channel. Either side may send a notification, or a request
 * and wait for its reply.
 */
import type { Readiness } from '../http/management.ts';
import type { Snapshot } from '../http/metrics.ts';

/** The requests, each with the types of its data and its reply. */
export interface IpcRequests {
  /** To a worker: begin to answer requests of clients. */
  begin: { asked: WorkerStart; answer: WorkerStarted };
  /** To a worker. */
  readiness: { asked: null; answer: Readiness };
  /** To a worker. */
  metrics: { asked: null; answer: Snapshot };
  /** To a worker: check that its event loop runs. */
  alive: { asked: null; answer: null };
  /** To a worker: read the change log. To the primary: make the other workers read it. */
  catch_up: { asked: null; answer: null };
}

/** The notifications. */
export interface IpcNotifications {
  /** To a worker: finish running requests, and end. */
  drain: { readonly reason: string };
  /** To the primary, which passes it to the other workers: a part of a limit was used. */
  taken: { readonly limit: string; readonly key: string; readonly count: number };
}

export interface WorkerStart {
  /** From 1; a replacement takes the number of the ended worker. */
  readonly worker: number;
  readonly databaseUrl: string;
  /** Whether this is the first start of this worker. It then makes the demo data of development. */
  readonly bootstrap: boolean;
}

/** `refused`: why the worker can't start, as a sentence for the operator. `welcome`: the text to print. */
export type WorkerStarted =
  { readonly refused: string } | { readonly refused?: never; readonly welcome: string | undefined };

type Question = keyof IpcRequests;
type Answer<Q extends Question> = IpcRequests[Q]['answer'];
type Message =
  | { readonly ask: Question; readonly id: number; readonly about: unknown }
  | { readonly answer: unknown; readonly to: number }
  | { readonly failed: string; readonly to: number }
  | { readonly tell: keyof IpcNotifications; readonly about: unknown };

/** The other process: `process` for a worker, a `Worker` for the primary. */
interface Channel {
  send?: (message: Message, callback: (error: Error | null) => void) => unknown;
  on(event: 'message', listener: (message: Message) => void): unknown;
}

export class IpcChannel {
  readonly #channel: Channel;
  readonly #handlers = new Map<string, (about: unknown) => unknown>();
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #asked = 0;

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.on('message', (message) => void this.#receive(message));
  }

  onAsked<Q extends Question>(question: Q, handler: (about: IpcRequests[Q]['asked']) => Promise<Answer<Q>>): void {
    this.#handlers.set(question, handler as (about: unknown) => unknown);
  }

  onTold<N extends keyof IpcNotifications>(news: N, handler: (about: IpcNotifications[N]) => void): void {
    this.#handlers.set(news, handler as (about: unknown) => unknown);
  }

  tell<N extends keyof IpcNotifications>(news: N, about: IpcNotifications[N]): void {
    this.#send({ tell: news, about });
  }

  /** Sends a request. Rejects if the other side fails, ends, or takes longer than `patienceMilliseconds`, if given. */
  async ask<Q extends Question>(
    question: Q,
    about: IpcRequests[Q]['asked'],
    patienceMilliseconds?: number,
  ): Promise<Answer<Q>> {
    const id = ++this.#asked;
    const answered = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answered);
    const late = (): void => answered.reject(new Error(`No answer to ${question} in time.`));
    const timer = patienceMilliseconds === undefined ? undefined : setTimeout(late, patienceMilliseconds);
    this.#send({ ask: question, id, about });
    try {
      return (await answered.promise) as Answer<Q>;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** Rejects all waiting requests, because the other process has ended. */
  close(): void {
    for (const { reject } of this.#waiting.values()) reject(new Error('The other process has ended.'));
  }

  /**
   * A message that can't be sent rejects its request. A lost notification is ignored: the primary handles the worker's
   * end.
   */
  #send(message: Message): void {
    const onFailure = (error: Error | null): void => {
      if (error && 'ask' in message) this.#waiting.get(message.id)?.reject(error);
    };
    try {
      if (!this.#channel.send) throw new Error('The other process has ended.');
      this.#channel.send(message, onFailure);
    } catch (error) {
      onFailure(error as Error);
    }
  }

  async #receive(message: Message): Promise<void> {
    if ('tell' in message) this.#handlers.get(message.tell)?.(message.about);
    else if ('answer' in message) this.#waiting.get(message.to)?.resolve(message.answer);
    else if ('failed' in message) this.#waiting.get(message.to)?.reject(new Error(message.failed));
    else {
      try {
        const handler = this.#handlers.get(message.ask);
        if (!handler) throw new Error(`No handler for ${message.ask}.`);
        this.#send({ answer: await handler(message.about), to: message.id });
      } catch (error) {
        this.#send({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error), to: message.id });
      }
    }
  }
}
