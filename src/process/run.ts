/** Which part this process plays: all of a node, the first of several processes, or one of those it started. */
import cluster from 'node:cluster';
import { CannotStart } from '../base/cannot_start.ts';
import { readConfig } from '../config.ts';
import { requireKnownEnvironment } from './development_start.ts';

export async function run(): Promise<void> {
  try {
    const config = readConfig();
    requireKnownEnvironment(config);
    // each loads what its part needs and no more: the primary of ten workers is a small process
    if (cluster.isWorker) (await import('./worker.ts')).workForPrimary(config);
    else if (config.workers > 1) await (await import('./primary.ts')).leadWorkers(config);
    else await (await import('./alone.ts')).serveAlone(config);
  } catch (error) {
    report(error);
    // what was begun and is not needed now must not keep a process that can't serve
    process.exit(1);
  }
}

/** One clear sentence for what the operator can mend; a stack only for what is our bug. */
function report(error: unknown): void {
  if (error instanceof CannotStart) process.stderr.write(`Gatehouse can't start. ${error.message}\n`);
  else console.error("Gatehouse can't start; this is a bug:", error);
}
