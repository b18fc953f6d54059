/** Runs this process as a node of one process, as the primary of several, or as a worker. */
import cluster from 'node:cluster';
import { CannotStart } from '../base/cannot_start.ts';
import type { Interruption } from '../base/interruption.ts';
import { readConfig } from '../config.ts';
import { requireKnownEnvironment } from './development_start.ts';
import { restrictFetch } from './own_fetch.ts';

export async function run(interruption: Interruption): Promise<void> {
  try {
    const config = readConfig();
    requireKnownEnvironment(config);
    restrictFetch(config.issuer);
    // each process loads only the code that it needs: the primary of ten workers is small
    if (cluster.isWorker) (await import('./worker.ts')).workForPrimary(config);
    else if (config.workers > 1) await (await import('./primary.ts')).leadWorkers(config, interruption);
    else await (await import('./single_process.ts')).serveInOneProcess(config, interruption);
  } catch (error) {
    // the process exits when the interruption has undone its work
    if (interruption.interrupted) return;
    await report(error);
    // open handles must not keep a process alive that can't serve
    process.exit(1);
  }
}

/** Prints one sentence for an error that the operator can correct, and a stack for a bug. */
async function report(error: unknown): Promise<void> {
  // loaded here, because a configuration error needs no database code
  const cannotStart =
    error instanceof CannotStart ? error : (await import('../db/start_failure.ts')).asCannotStart(error);
  if (cannotStart) process.stderr.write(`Gatehouse can't start. ${cannotStart.message}\n`);
  else console.error("Gatehouse can't start; this is a bug:", error);
}
