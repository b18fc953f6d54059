import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { cloneDatabase, type TestDatabase } from './support/database.ts';
import { TEST_MASTER_KEY } from './support/gatehouse.ts';
import { Processes } from './support/process.ts';

const LINUX = existsSync('/proc/self/task');

describe('the threads of a node', { skip: !LINUX && 'only Linux tells one from another' }, () => {
  const processes = new Processes();
  let database: TestDatabase;
  before(async () => {
    database = await cloneDatabase();
  });
  after(async () => {
    await processes.end();
    await database.drop();
  });

  it('give way to the one that answers, if they are there to help it', async () => {
    const { pid } = await processes.start({
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    });
    const threads = readdirSync(`/proc/${pid}/task`);
    const answers = niceness(pid, String(pid));
    const helpers = threads.filter((thread) =>
      /V8Worker/.test(readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8')),
    );
    assert.ok(helpers.length > 0);
    for (const helper of helpers) assert.equal(niceness(pid, helper) - answers, 3);
  });
});

/** The 19th field of what proc(5) calls stat; the second one may have spaces. */
function niceness(pid: number, thread: string): number {
  const [, fields = ''] = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8').split(') ');
  return Number(fields.split(' ')[16]);
}
