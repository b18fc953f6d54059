import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { testPatterns } from '../../scripts/test_files.ts';
import { filesOfProcesses } from '../../scripts/test_processes.ts';

const ROOT = join(import.meta.dirname, '../..');

describe('npm run test:node', () => {
  const patterns = (...selections: string[]): string[] => testPatterns(selections, ROOT);

  it('runs all tests where nothing is selected', () => {
    assert.deepEqual(patterns(), ['test/**/*.test.ts']);
  });

  it('takes a folder, with and without test/ in front', () => {
    const audit = 'test/audit/**/*.test.ts';
    assert.deepEqual(patterns('audit', 'test/audit', './test/audit/'), [audit, audit, audit]);
    assert.deepEqual(patterns('test/'), ['test/**/*.test.ts']);
  });

  it('takes a file, with and without test/ in front', () => {
    const file = 'test/project/test_command.test.ts';
    assert.deepEqual(patterns('project/test_command.test.ts', file), [file, file]);
  });

  it('refuses a folder without tests, and lists the others', () => {
    const { status, stderr } = spawnSync(process.execPath, [join(ROOT, 'scripts/test.ts'), 'audit', 'nowhere']);
    assert.equal(status, 1);
    assert.match(
      stderr.toString(),
      /^No test file is in 'nowhere'\. .*: account_links, accounts, admin, audit, .*tokens, vault\.\n$/,
    );
  });

  it('gives each file to one process', () => {
    const files = globSync('test/**/*.test.ts', { cwd: ROOT });
    assert.deepEqual(filesOfProcesses(files, ROOT).flat().toSorted(), files.toSorted());
  });

  it('gives no file to a process of several if its hooks would apply to the others', () => {
    const files = globSync('test/**/*.test.ts', { cwd: ROOT });
    for (const file of filesOfProcesses(files, ROOT)
      .filter((ofProcess) => ofProcess.length > 1)
      .flat()) {
      const code = readFileSync(join(ROOT, file), 'utf8');
      assert.doesNotMatch(code, /^(before|after)(Each)?\(/m, `${file} has a hook outside of its describe`);
    }
  });

  it('refuses a way out of test/', () => {
    assert.throws(() => patterns('../src'), /^Error: No test file is in '..\/src'/);
  });
});
