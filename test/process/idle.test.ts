import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { Processes } from '../support/node/process.ts';

/** A node that rests needs 20; with a timer of 10 ms it is more than 100, on a busy machine too. */
const WAKE_UPS_A_SECOND_AT_MOST = 60;
/** 0.5 on a machine with nothing else to do; on a busy one each wake-up costs more. */
const PERCENT_OF_A_CORE_AT_MOST = 1.5;
const SECONDS = 4;

describe('a node without requests', () => {
  const processes = new Processes();
  let database: TestDatabase;
  before(async () => {
    database = await emptyDatabase();
  });
  after(async () => {
    await processes.end();
    await database.drop();
  });

  it('rests: it is hardly ever woken and uses hardly any time of a core (FIELD-F8)', async (t) => {
    const { pid } = await processes.start({
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    });
    // what a start leaves to do, such as giving memory back, is over soon
    await eventually(async () => {
      const began = use(pid);
      await delay(SECONDS * 1_000);
      const ended = use(pid);
      const wakeUps = (ended.wakeUps - began.wakeUps) / SECONDS;
      const percent = ((ended.cpuSeconds - began.cpuSeconds) / SECONDS) * 100;
      t.diagnostic(`${wakeUps} wake-ups a second, ${percent.toFixed(2)} % of a core`);
      return wakeUps < WAKE_UPS_A_SECOND_AT_MOST && percent < PERCENT_OF_A_CORE_AT_MOST;
    }, 30_000);
    assert.ok(pid > 0);
  });
});

/** Of the process's main thread: how often it slept; of all its threads: user and system time. */
function use(pid: number): { readonly wakeUps: number; readonly cpuSeconds: number } {
  // where the kernel shows neither, the node only has to live
  if (process.platform !== 'linux') return { wakeUps: 0, cpuSeconds: 0 };
  const [, switches] = /^voluntary_ctxt_switches:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  // in hundredths of a second on every Linux there is
  return { wakeUps: Number(switches), cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100 };
}
