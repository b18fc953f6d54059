import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { removeFolder } from './support/folder.ts';

const PROJECT = join(import.meta.dirname, '..');

describe('the image that the Dockerfile builds', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-compiled-'));
  });
  after(() => removeFolder(folder));

  /** Where Node keeps what it compiled under these options: those that make another code have another place. */
  const keptUnder = (options: readonly string[]): string => {
    const tell = `const { enableCompileCache, getCompileCacheDir } = require('node:module');
      enableCompileCache(${JSON.stringify(folder)}); process.stdout.write(getCompileCacheDir());`;
    return execFileSync(process.execPath, [...options, '-e', tell], { encoding: 'utf8' });
  };

  it('is compiled under the options that it is started with: what others have left is not found', async () => {
    const dockerfile = await readFile(join(PROJECT, 'Dockerfile'), 'utf8');
    const [, whenBuilt = ''] = /^RUN node (.*?) ?-e /m.exec(dockerfile) ?? [];
    const [, command = ''] = /^CMD (\[.*\])$/m.exec(dockerfile) ?? [];
    const [node, ...whenStarted] = JSON.parse(command) as string[];
    assert.deepEqual([node, whenStarted.pop()], ['node', 'src/main.ts']);
    assert.equal(keptUnder(whenBuilt.split(' ').filter(Boolean)), keptUnder(whenStarted));
  });
});
