import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FairQueue } from '../../src/limits/fair_queue.ts';

/** As a client does that asks anew as soon as it is answered: so many of its requests are being worked on. */
class Asking {
  readonly #turns: FairQueue;
  readonly #client: string;
  underWay = 0;
  waiting = 0;

  constructor(turns: FairQueue, client: string) {
    this.#turns = turns;
    this.#client = client;
  }

  ask(now: number): void {
    const turn = this.#turns.take(this.#client, now);
    if (!turn) {
      this.underWay++;
      return;
    }
    this.waiting++;
    void turn.then(() => {
      this.waiting--;
      this.underWay++;
    });
  }

  async answered(now: number): Promise<void> {
    this.underWay--;
    this.#turns.leave(this.#client, now);
    await Promise.resolve();
  }
}

describe('the fair queue', () => {
  it('limits a client with many requests to its share when another client comes', async () => {
    const turns = new FairQueue();
    const [loud, quiet] = [new Asking(turns, 'loud'), new Asking(turns, 'quiet')];
    loud.ask(0);
    for (let i = 1; i < 50; i++) loud.ask(1_000);
    assert.equal(loud.underWay, 50);
    quiet.ask(1_080);
    for (let i = 0; i < 100; i++) {
      await loud.answered(1_090);
      loud.ask(1_090);
    }
    assert.deepEqual([loud.underWay, loud.waiting, quiet.underWay], [4, 46, 1]);
  });

  it('leaves no request waiting, in any order of arrival', async () => {
    for (const later of [1_090, 2_000]) {
      const turns = new FairQueue();
      const loud = new Asking(turns, 'loud');
      loud.ask(0);
      for (let i = 1; i < 10; i++) loud.ask(1_000);
      void turns.take('quiet', 1_080);
      for (let i = 0; i < 10; i++) loud.ask(1_090);
      assert.deepEqual([loud.underWay, loud.waiting], [10, 10]);
      for (let i = 0; i < 20; i++) await loud.answered(later);
      assert.deepEqual([loud.underWay, loud.waiting], [0, 0]);
    }
  });

  it('serves waiting requests while their client, alone again, sends more', async () => {
    const turns = new FairQueue();
    const loud = new Asking(turns, 'loud');
    void turns.take('quiet', 0);
    for (let i = 0; i < 8; i++) loud.ask(1);
    assert.deepEqual([loud.underWay, loud.waiting], [4, 4]);
    for (let i = 0; i < 8; i++) loud.ask(1_000);
    for (let i = 0; i < 4; i++) {
      await loud.answered(1_000);
      loud.ask(1_000);
    }
    assert.equal(loud.waiting, 0);
  });
});
