/** Which part this process plays: all of a node, the first of several processes, or one of those it started. */
import cluster from 'node:cluster';
import { CannotStart } from '../base/cannot_start.ts';
import type { Interruption } from '../base/interruption.ts';
import { readConfig } from '../config.ts';
import { requireKnownEnvironment } from './development_start.ts';

export async function run(interruption: Interruption): Promise<void> {
  try {
    const config = readConfig();
    requireKnownEnvironment(config);
    // each loads what its part needs and no more: the primary of ten workers is a small process
    if (cluster.isWorker) (await import('./worker.ts')).workForPrimary(config);
    else if (config.workers > 1) await (await import('./primary.ts')).leadWorkers(config, interruption);
    else await (await import('./single_process.ts')).serveInOneProcess(config, interruption);
  } catch (error) {
    // the process exits as soon as what has begun is undone
    if (interruption.interrupted) return;
    await report(error);
    // what was begun and is not needed now must not keep a process that can't serve
    process.exit(1);
  }
}

/** One clear sentence for what the operator can mend; a stack only for what is our bug. */
async function report(error: unknown): Promise<void> {
  // loaded here, since a bad configuration needs no database to be told
  const told = error instanceof CannotStart ? error : (await import('../db/start_failure.ts')).asCannotStart(error);
  if (told) process.stderr.write(`Gatehouse can't start. ${told.message}\n`);
  else console.error("Gatehouse can't start; this is a bug:", error);
}
