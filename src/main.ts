/** The entry point of the server. */
import cluster from 'node:cluster';
import { Interruption } from './base/interruption.ts';

// not when the file is only compiled, as in the build of an image
if (import.meta.main) {
  // before any other module is loaded
  const interruption = new Interruption({
    sentence: (signal) => `Gatehouse was told to stop by ${signal} before it had started.`,
    exitCode: () => 0,
  });
  if (cluster.isWorker) {
    // a terminal and a supervisor send signals to all processes; a worker stops when the primary says so
    interruption.end();
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
  }
  const { run } = await import('./process/run.ts');
  await run(interruption);
}
