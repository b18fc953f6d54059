/** The process. */
import { run } from './process/run.ts';

// not where it is only compiled, as while an image is built
if (import.meta.main) await run();
