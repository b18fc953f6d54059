/**
 * The process. What is compiled once is kept beside the dependencies, so that the next start need not do it again; only
 * what is loaded after that was said profits, so this file loads nothing else by name.
 */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// where this may not be written, as in a container, what was left there is read and nothing is said
enableCompileCache(join(import.meta.dirname, '../node_modules/.compiled'));
const { run } = await import('./process/run.ts');
await run();
