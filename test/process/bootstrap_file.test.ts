import assert from 'node:assert/strict';
import { lstat, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { startGatehouse } from '../support/node/gatehouse.ts';

it('the first start writes its secrets into a file of its own, even if an attacker has put another file in its place before', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-bootstrap-'));
  const trap = join(dataDir, 'readable by others');
  await writeFile(trap, 'untouched', { mode: 0o666 });
  await symlink(trap, join(dataDir, 'bootstrap.json.new'));
  const gatehouse = await startGatehouse({ environment: { GATEHOUSE_DATA_DIR: dataDir } });
  try {
    const file = join(dataDir, 'bootstrap.json');
    assert.equal(await readFile(trap, 'utf8'), 'untouched');
    assert.equal((await lstat(file)).isFile(), true);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
  } finally {
    await gatehouse.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
});
