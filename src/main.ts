/** The process. */
import cluster from 'node:cluster';
import { Interruption } from './base/interruption.ts';

// not where it is only compiled, as while an image is built
if (import.meta.main) {
  // before anything else is loaded
  const interruption = new Interruption({
    sentence: (signal) => `Gatehouse was told to stop by ${signal} before it had started.`,
    exitCode: () => 0,
  });
  if (cluster.isWorker) {
    // a terminal sends signals to all of us, and so does a supervisor that ends a whole group; the primary tells us
    interruption.end();
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
  }
  const { run } = await import('./process/run.ts');
  await run(interruption);
}
