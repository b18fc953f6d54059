/** `npm run test:node [-- folder or file …]`: runs all tests, or those of some folders below test/. */
import { join } from 'node:path';
import { testPatterns } from './test_files.ts';

const OPTIONS = ['--test-concurrency=2', '--test-timeout=400000', '--test-global-setup=test/support/global.ts'];

const given = process.argv.slice(2);
const options = given.filter((argument) => argument.startsWith('-'));
const selections = given.filter((argument) => !argument.startsWith('-'));
try {
  const patterns = testPatterns(selections, join(import.meta.dirname, '..'));
  if (!process.execve) throw new Error('Node can not replace its own process on this platform.');
  // so that signals and the exit code are those of the tests
  process.execve(process.execPath, ['node', '--test', ...OPTIONS, ...options, ...patterns], process.env);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
