/**
 * Coordinates concurrent reads of the same value: a read that began later has a newer value and may finish first. The
 * result of an earlier read is then dropped.
 */
export class LatestWins {
  #begun = 0;
  #inForce = 0;

  /** Passes the result to `putInForce`, unless the result of a later read is already in force. */
  async run<T>(read: () => Promise<T>, putInForce: (found: T) => void): Promise<void> {
    const mine = ++this.#begun;
    const found = await read();
    if (mine < this.#inForce) return;
    this.#inForce = mine;
    putInForce(found);
  }
}
