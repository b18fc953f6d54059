/**
 * Reads of one thing that several ask for at once: whoever began later has read what is newer, and may have been quicker.
 * What an older read brings then comes too late, and is dropped.
 */
export class LatestWins {
  #begun = 0;
  #inForce = 0;

  /** Hands on what was read, unless what a later read has brought is in force. */
  async run<T>(read: () => Promise<T>, putInForce: (found: T) => void): Promise<void> {
    const mine = ++this.#begun;
    const found = await read();
    if (mine < this.#inForce) return;
    this.#inForce = mine;
    putInForce(found);
  }
}
