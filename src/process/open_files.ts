/** Computes how many connections this process may hold, because each takes one of its open files. */
import { readFileSync } from 'node:fs';
import type { Config } from '../config.ts';
import { CONNECTIONS_AT_MOST, MANAGEMENT_CONNECTIONS_AT_MOST } from '../http/server.ts';
import type { Logger } from '../log.ts';

/** The process's own files, with those that are open for a moment: code, TLS files, DNS. */
const OWN_FILES = 40;
/** To other hosts (egress/limits.ts), the breaker's to the database, and listening sockets. */
const OTHER_CONNECTIONS = 22;
/** A node with fewer connections is useless; the operator must raise the limit. */
const CONNECTIONS_AT_LEAST = 16;

/** At most 10,000, or what `ulimit -n` allows; logs a warning if that is less. */
export function connectionsAtMost({ databaseMaxConnections }: Config, log: Logger): number {
  const openFiles = openFilesAtMost();
  if (openFiles === undefined) return CONNECTIONS_AT_MOST;
  const left = openFiles - OWN_FILES - OTHER_CONNECTIONS - MANAGEMENT_CONNECTIONS_AT_MOST - databaseMaxConnections;
  if (left >= CONNECTIONS_AT_MOST) return CONNECTIONS_AT_MOST;
  const atMost = Math.max(CONNECTIONS_AT_LEAST, left);
  log.warn({ open_files: openFiles, connections_at_most: atMost }, 'connections.limited');
  return atMost;
}

/** `undefined` if there is no limit, or no /proc to read it from. */
function openFilesAtMost(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
