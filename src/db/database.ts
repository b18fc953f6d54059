/** The types of a database and of a transaction, as Kysely has them of our tables. */
import type { Kysely, Transaction } from 'kysely';
import type { Tables } from './tables.ts';

export type Database = Kysely<Tables>;
/** Asked for by functions whose statements must be part of their caller's transaction; the caller commits. */
export type Tx = Transaction<Tables>;
/** Either: for reads that may stand alone or look at what their caller's transaction has written. */
export type Reader = Database | Tx;
