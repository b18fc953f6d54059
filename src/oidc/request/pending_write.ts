import type { Tx } from '../../db/connection.ts';
import type { TakeBack } from './unanswered_uses.ts';

/** Part of a transaction that may be begun anew: it touches nothing but the transaction. */
export type Write = (tx: Tx) => Promise<void>;

export interface PendingWrite {
  readonly write: Write;
  /** True for what is written though the request is refused after all; for example, that the person has logged in. */
  readonly evenIfRefused: boolean;
  /**
   * Undoes a use whose outcome is unknown, so that it can be repeated; answers whether there was anything to undo.
   * Idempotent.
   */
  readonly takeBack?: TakeBack | undefined;
}
