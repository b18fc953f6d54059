import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { requestToken, TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { CLI, freeAddresses, MAIN, NODE, Processes, type Environment } from '../support/node/process.ts';

/** docs/benchmarks.md has what it is on a machine with nothing else to do; here many tests may run at once. */
const CPU_SECONDS_AT_MOST = 4;
const SECONDS_AT_MOST = 15;

describe('the time from a start to the first token', () => {
  const processes = new Processes();
  let database: TestDatabase;
  let environment: Environment;
  let admin: { readonly client_id: string; readonly client_secret: string };

  before(async () => {
    database = await emptyDatabase();
    environment = {
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_SHUTDOWN_DELAY_SECONDS: '0',
    };
    const { code, stdout, stderr } = await processes.run([NODE, CLI, 'create-admin'], environment);
    assert.equal(code, 0, stderr);
    admin = JSON.parse(stdout) as typeof admin;
    // what this one has compiled, the next one finds
    const first = await processes.start(environment);
    first.signal('SIGTERM');
    await first.ended();
  });
  after(async () => {
    await processes.end();
    await database.drop();
  });

  it('is short once the code was compiled and the database is there (FIELD-F8)', async (t) => {
    const { port, managementPort } = await freeAddresses();
    const ports = { PORT: String(port), GATEHOUSE_MANAGEMENT_PORT: String(managementPort) };
    const began = performance.now();
    const server = processes.spawn([NODE, MAIN], { ...environment, ...ports });
    const seconds = (): number => (performance.now() - began) / 1000;
    const token = () => requestToken(`http://127.0.0.1:${port}`, admin).catch(() => undefined);
    while (!(await token())) {
      assert.ok(seconds() < SECONDS_AT_MOST, `Still none after ${seconds()} s: ${server.output().stderr}`);
      await delay(5);
    }
    t.diagnostic(`${seconds().toFixed(2)} s, of which ${cpuSeconds(server.pid)} s of the CPU`);
    assert.ok((cpuSeconds(server.pid) ?? 0) < CPU_SECONDS_AT_MOST);
  });
});

/** User and system time; where the kernel shows it. */
function cpuSeconds(pid: number): number | undefined {
  if (process.platform !== 'linux') return undefined;
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  // in hundredths on every Linux there is
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
