/** Prints the name of every test there is, as JSON: loads all their files with a `node:test` that only takes notes. */
import { globSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { namesIn, type TestName } from './recorder.ts';

const ROOT = join(import.meta.dirname, '../../..');

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'node:test'
      ? { url: import.meta.resolve('./recorder.ts'), shortCircuit: true }
      : next(specifier, context),
});

const names: TestName[] = [];
for (const path of globSync('test/**/*.test.ts', { cwd: ROOT }).toSorted())
  names.push(...(await namesIn(path, () => import(pathToFileURL(join(ROOT, path)).href))));
// what some of them hold open from the start must not keep this waiting
process.stdout.write(JSON.stringify(names), () => process.exit());
