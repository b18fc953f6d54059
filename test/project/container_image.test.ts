import assert from 'node:assert/strict';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { requestToken, TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { CLI, NODE, Processes, type Environment } from '../support/node/process.ts';

const PROJECT = join(import.meta.dirname, '../..');
/** The message of Node.js for a file that is not in the compile cache. */
const COMPILED_ANEW = /no transpile cache for .*/;

describe('the image that the Dockerfile builds', () => {
  const processes = new Processes();
  let folder: string;
  let database: TestDatabase;
  let dockerfile: string;
  let environment: Environment;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-compiled-'));
    database = await emptyDatabase();
    dockerfile = (await readFile(join(PROJECT, 'Dockerfile'), 'utf8')).replaceAll('/app/', `${PROJECT}/`);
    environment = { NODE_ENV: 'production', NODE_COMPILE_CACHE: folder };
  });
  after(async () => {
    await processes.end();
    await database.drop();
    await removeFolder(folder);
  });

  it('has all compiled that it runs', async () => {
    const steps = [...dockerfile.matchAll(/^RUN node (.*)$/gm)];
    assert.equal(steps.length, 2);
    for (const [, step] of steps) {
      const { code, stdout, stderr } = await processes.run(['/bin/sh', '-c', `'${NODE}' ${step}`], environment);
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: '' });
    }
    const installation = {
      ...environment,
      NODE_DEBUG_NATIVE: 'COMPILE_CACHE',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_SHUTDOWN_DELAY_SECONDS: '0',
    };
    const [, command = ''] = /^CMD (\[.*\])$/m.exec(dockerfile) ?? [];
    const [, ...options] = JSON.parse(command) as string[];
    const server = await processes.ready([NODE, ...options], installation);
    const created = await processes.run([NODE, CLI, 'create-admin'], installation);
    assert.equal(created.code, 0);
    const admin = JSON.parse(created.stdout) as Parameters<typeof requestToken>[1];
    await requestToken(server.url, admin);
    server.signal('SIGTERM');
    const ended = await server.ended();
    for (const { stdout, stderr } of [created, ended]) {
      assert.match(stdout + stderr, /retrieving transpile cache/);
      assert.doesNotMatch(stdout + stderr, COMPILED_ANEW);
    }
  });
});
