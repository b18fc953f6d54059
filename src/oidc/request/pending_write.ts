import type { Tx } from '../../db/connection.ts';
import type { TakeBack } from './unanswered_uses.ts';

/** A part of a transaction. It may run again in a new transaction, so it changes nothing outside of it. */
export type Write = (tx: Tx) => Promise<void>;

export interface PendingWrite {
  readonly write: Write;
  /** True if the write is kept when the request is refused at commit; for example, the person's login. */
  readonly evenIfRefused: boolean;
  /**
   * Undoes a single use whose commit has an unknown outcome, so that the client can repeat it. Resolves to true if
   * there was something to undo. Idempotent.
   */
  readonly takeBack?: TakeBack | undefined;
}
