import assert from 'node:assert/strict';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { emptyDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { requestToken, TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { MAIN, NODE, Processes, type Environment } from '../support/node/process.ts';

const preload = (script: string): string[] => ['--import', `data:text/javascript,${encodeURIComponent(script)}`];
/** A pipe that the process takes for a terminal. */
const ON_A_TERMINAL = preload('process.stdout.isTTY = true');
const WITHOUT_PINO_PRETTY = preload(`
  import { registerHooks } from 'node:module';
  registerHooks({ resolve(name, context, next) {
    if (name === 'pino-pretty') throw new Error('not installed');
    return next(name, context);
  } });`);

describe('the log of a server', () => {
  const processes = new Processes();
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-log-'));
  });
  after(async () => {
    await processes.end();
    await removeFolder(folder);
  });

  /** What a server has written when it has stopped; it was asked for three tokens. */
  async function written(options: readonly string[], environment: Environment = {}): Promise<string> {
    const server = await processes.ready([NODE, ...options, MAIN], { GATEHOUSE_DATA_DIR: folder, ...environment });
    const { demo } = JSON.parse(await readFile(join(folder, 'bootstrap.json'), 'utf8')) as Bootstrap;
    for (let n = 0; n < 3; n++) await requestToken(server.url, demo);
    server.signal('SIGTERM');
    const { code, stdout, stderr } = await server.ended();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    return stdout;
  }

  it('is readable lines on a terminal, and nothing but the commands follows the start (FIELD-F7)', async () => {
    const plain = stripVTControlCharacters(await written(ON_A_TERMINAL)).split('\n');
    assert.ok(!plain.some((line) => line.startsWith('{')));
    const started = plain.findIndex((line) => /^\[\d\d:\d\d:\d\d\] INFO: gatehouse\.started/.test(line));
    const stopping = plain.findIndex((line) => line.includes('gatehouse.stopping'));
    assert.ok(started >= 0 && stopping > started, plain.join('\n'));
    const between = plain.slice(started + 1, stopping);
    assert.equal(between.filter((line) => line.startsWith('# ')).length, 3);
    // a line for each of the three tokens would stand here
    assert.deepEqual(
      between.filter((line) => line.startsWith('[')),
      [],
    );
    assert.ok(!plain.some((line) => line.includes('client.created')));
  });

  it('has the lines of requests on a terminal at LOG_LEVEL=debug (FIELD-F7)', async () => {
    const text = await written(ON_A_TERMINAL, { LOG_LEVEL: 'debug' });
    assert.equal(text.split('\n').filter((line) => line.includes('token.issued')).length, 3);
  });

  it('is JSON where standard output is no terminal, or pino-pretty is not installed (FIELD-F7)', async () => {
    for (const options of [[], [...ON_A_TERMINAL, ...WITHOUT_PINO_PRETTY]]) {
      const text = await written(options);
      const lines = text.split('\n').filter((line) => line.startsWith('{'));
      const events = lines.map((line) => (JSON.parse(line) as { msg: string }).msg);
      assert.ok(events.includes('gatehouse.started') && events.includes('gatehouse.stopped'), text);
    }
  });

  it('is JSON in production, on a terminal too (FIELD-F7)', async () => {
    const database = await emptyDatabase();
    const server = await processes.ready([NODE, ...ON_A_TERMINAL, MAIN], {
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_SHUTDOWN_DELAY_SECONDS: '0',
    });
    server.signal('SIGTERM');
    const { stdout } = await server.ended();
    for (const line of stdout.trim().split('\n')) assert.equal(typeof JSON.parse(line), 'object');
    assert.match(stdout, /"msg":"signing_key\.created"/);
    await database.drop();
  });
});
