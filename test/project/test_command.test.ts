import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { testPatterns } from '../../scripts/test_files.ts';

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

  it('refuses a way out of test/', () => {
    assert.throws(() => patterns('../src'), /^Error: No test file is in '..\/src'/);
  });
});
