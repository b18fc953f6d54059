import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { removeFolder } from '../support/node/folder.ts';
import { requestToken } from '../support/node/gatehouse.ts';
import { CLI, NODE, Processes, type Ending, type Server } from '../support/node/process.ts';

describe('the command line in the folder of a development server', () => {
  const processes = new Processes();
  let folder = '';
  let dataDir = '';
  let server: Server;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-cli-'));
    dataDir = join(folder, 'data');
  });
  after(async () => {
    await processes.end();
    await removeFolder(folder);
  });

  const run = (...command: readonly string[]): Promise<Ending> =>
    processes.run([NODE, CLI, ...command], { GATEHOUSE_DATA_DIR: dataDir });

  it('makes no second installation where there is none, and says what to set (FIELD-F7)', async () => {
    for (const command of [['audit', 'export'], ['create-admin'], ['migrate']]) {
      const { code, stdout, stderr } = await run(...command);
      assert.deepEqual(
        { code, stdout, stderr },
        {
          code: 1,
          stdout: '',
          stderr: `There is no database under ${dataDir}: set DATABASE_URL to the server's, set GATEHOUSE_DATA_DIR to its data folder, or run this command in the folder in which the server was started.\n`,
        },
      );
      assert.ok(!existsSync(dataDir));
    }
  });

  it('works on the database of the server that runs there, which keeps running (FIELD-F7)', async () => {
    server = await processes.start({ GATEHOUSE_DATA_DIR: dataDir });
    const exported = await run('audit', 'export');
    assert.equal(exported.code, 0, exported.stderr);
    assert.match(exported.stdout, /"event":"client\.created"/);
    const made = await run('create-admin', '--name', 'Beside');
    assert.equal(made.code, 0, made.stderr);
    const admin = JSON.parse(made.stdout) as { client_id: string; client_secret: string };
    await requestToken(server.url, admin);
  });

  it('works on the database that a server has left there (FIELD-F7)', async () => {
    server.signal('SIGTERM');
    await server.ended();
    const { code, stdout, stderr } = await run('audit', 'export');
    assert.equal(code, 0, stderr);
    const { demo } = JSON.parse(readFileSync(join(dataDir, 'bootstrap.json'), 'utf8')) as Bootstrap;
    assert.ok(stdout.includes(demo.client_id));
  });
});
