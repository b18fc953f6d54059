/** `npm run test:node [-- folder or file …]`: runs all tests, or those of some folders below test/. */
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { testPatterns } from './test_files.ts';
import { filesOfProcesses, writeModules } from './test_processes.ts';

/** Of three processes on two cores one mostly waits. */
const OPTIONS = ['--test-concurrency=3', '--test-timeout=600000', '--test-global-setup=test/support/global.ts'];
const ROOT = join(import.meta.dirname, '..');

const given = process.argv.slice(2);
const options = given.filter((argument) => argument.startsWith('-'));
const selections = given.filter((argument) => !argument.startsWith('-'));
try {
  const files = globSync(testPatterns(selections, ROOT), { cwd: ROOT }).toSorted();
  const modules = writeModules(filesOfProcesses(files, ROOT), ROOT);
  if (!process.execve) throw new Error('Node can not replace its own process on this platform.');
  // so that signals and the exit code are those of the tests
  process.execve(process.execPath, ['node', '--test', ...OPTIONS, ...options, ...modules], process.env);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
