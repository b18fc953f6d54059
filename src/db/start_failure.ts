/** Explains a database error during the start to the operator. */
import pg from 'pg';
import { CannotStart } from '../base/cannot_start.ts';
import { Unavailable } from '../base/unavailable.ts';
import { isUnavailable } from './connection.ts';

/**
 * Returns a `CannotStart` if the operator can resolve the error; `undefined` if it may be a bug, whose stack must be
 * shown.
 */
export function asCannotStart(error: unknown): CannotStart | undefined {
  if (error instanceof CannotStart) return error;
  const explanation = explanationOf(error);
  return explanation === undefined ? undefined : new CannotStart(explanation, { cause: error });
}

function explanationOf(error: unknown): string | undefined {
  const deepest = deepestOf(error);
  if (deepest instanceof pg.DatabaseError) {
    switch (deepest.code) {
      case '42501': // insufficient privilege
        return `The user of DATABASE_URL lacks a right in the database: ${reason(deepest)} Grant it, or use the owner of the tables.`;
      case '25006': // read-only transaction
        return `The database is read-only: ${reason(deepest)}`;
      case '53300': // too many connections
        return noConnectionLeft(deepest);
      case '57014': // statement timeout
      case '55P03': // lock not available
        return `A statement of the start timed out in the database: ${reason(deepest)} Another session may hold a lock; pg_locks shows which.`;
      default:
    }
  }
  return error instanceof Unavailable || isUnavailable(deepest)
    ? `The connection to the database was lost while the server started: ${reason(error)}`
    : undefined;
}

export function noConnectionLeft(error: unknown): string {
  return `The database has no free connection: ${reason(error)} Raise its max_connections, or lower GATEHOUSE_DATABASE_MAX_CONNECTIONS on all nodes.`;
}

/**
 * The driver's message, as the end of a sentence. Some errors carry their reason in an inner error (a host with two
 * addresses).
 */
export function reason(error: unknown): string {
  const deepest = deepestOf(error);
  const message =
    deepest instanceof Error ? deepest.message || String((deepest as { code?: string }).code) : String(deepest);
  return message.endsWith('.') ? message : `${message}.`;
}

function deepestOf(error: unknown): unknown {
  const inner = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
  return inner instanceof Error && inner.cause instanceof Error ? inner.cause : inner;
}
