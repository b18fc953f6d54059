/**
 * What primary and workers say to one another, over the channel that Node gives them. Either side may tell the other
 * something, or ask it and wait for an answer.
 */
import type { Readiness } from '../http/management.ts';
import type { Snapshot } from '../http/metrics.ts';

/** What is asked, and what the answer holds. */
export interface Questions {
  /** To a worker: begin to answer requests. */
  begin: { asked: Begin; answer: Begun };
  /** To a worker. */
  readiness: { asked: null; answer: Readiness };
  /** To a worker. */
  metrics: { asked: null; answer: Snapshot };
  /** To a worker: whether it still reacts. */
  alive: { asked: null; answer: null };
  /** To a worker: read the change log; to the primary: see that the others do. */
  catch_up: { asked: null; answer: null };
}

/** What is told. */
export interface News {
  /** To a worker: finish, and end. */
  drain: { readonly reason: string };
  /** To the primary and from there to the others: somebody has used up a part of a limit. */
  taken: { readonly limit: string; readonly key: string; readonly count: number };
}

export interface Begin {
  /** From 1; one that takes another's place takes its number. */
  readonly worker: number;
  readonly databaseUrl: string;
  /** Whether this is the first start of this worker: it then makes what development begins with. */
  readonly bootstrap: boolean;
}

/** `refused`: why it can't, in a sentence for whoever started it. `welcome`: what to print for them. */
export type Begun = { readonly refused: string } | { readonly refused?: never; readonly welcome: string | undefined };

type Question = keyof Questions;
type Answer<Q extends Question> = Questions[Q]['answer'];
type Message =
  | { readonly ask: Question; readonly id: number; readonly about: unknown }
  | { readonly answer: unknown; readonly to: number }
  | { readonly failed: string; readonly to: number }
  | { readonly tell: keyof News; readonly about: unknown };

/** A process at the other end: `process` itself for a worker, a `Worker` for the primary. */
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
    channel.on('message', (message) => void this.#hear(message));
  }

  onAsked<Q extends Question>(question: Q, handler: (about: Questions[Q]['asked']) => Promise<Answer<Q>>): void {
    this.#handlers.set(question, handler as (about: unknown) => unknown);
  }

  onTold<N extends keyof News>(news: N, handler: (about: News[N]) => void): void {
    this.#handlers.set(news, handler as (about: unknown) => unknown);
  }

  tell<N extends keyof News>(news: N, about: News[N]): void {
    this.#send({ tell: news, about });
  }

  /** Rejects when the other side fails, is gone, or takes longer than `patienceMilliseconds`, where that is given. */
  async ask<Q extends Question>(
    question: Q,
    about: Questions[Q]['asked'],
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

  /** Nobody is there any more. */
  close(): void {
    for (const { reject } of this.#waiting.values()) reject(new Error('The other process has ended.'));
  }

  /** What can't be sent has nobody to hear it: whoever asked learns so, for the rest that process's end is told anyway. */
  #send(message: Message): void {
    const unheard = (error: Error | null): void => {
      if (error && 'ask' in message) this.#waiting.get(message.id)?.reject(error);
    };
    try {
      if (!this.#channel.send) throw new Error('The other process has ended.');
      this.#channel.send(message, unheard);
    } catch (error) {
      unheard(error as Error);
    }
  }

  async #hear(message: Message): Promise<void> {
    if ('tell' in message) this.#handlers.get(message.tell)?.(message.about);
    else if ('answer' in message) this.#waiting.get(message.to)?.resolve(message.answer);
    else if ('failed' in message) this.#waiting.get(message.to)?.reject(new Error(message.failed));
    else {
      try {
        const handler = this.#handlers.get(message.ask);
        if (!handler) throw new Error(`Nobody answers ${message.ask} here.`);
        this.#send({ answer: await handler(message.about), to: message.id });
      } catch (error) {
        this.#send({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error), to: message.id });
      }
    }
  }
}
