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
    const niceness = new Map(
      readdirSync(`/proc/${pid}/task`).map((thread): [string, number] => {
        const folder = `/proc/${pid}/task/${thread}`;
        const [, fields = ''] = readFileSync(`${folder}/stat`, 'utf8').split(') ');
        return [readFileSync(`${folder}/comm`, 'utf8').trim(), Number(fields.split(' ')[16])];
      }),
    );
    assert.equal(niceness.get('V8Worker'), 3);
    assert.equal(niceness.get('MainThread'), 0);
  });
});
