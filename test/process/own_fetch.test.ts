import assert from 'node:assert/strict';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { closeOutside, PRIVATE, startOutside } from '../support/network/outside_server.ts';
import { removeFolder } from '../support/node/folder.ts';
import { MAIN, NODE, Processes, type Running } from '../support/node/process.ts';
import { Person } from '../support/person/person.ts';

/** Fetches, as a library in each process could, when the process gets a signal. */
const FETCHES = `process.on('SIGUSR2', () => {
  const say = (what) => process.stderr.write('fetch ' + what + '.\\n');
  fetch(process.env.FETCHED).then(({ status }) => say(status), ({ name }) => say(name));
});`;

describe('the fetch function of a server’s process', () => {
  const processes = new Processes();
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-fetch-'));
  });
  after(async () => {
    await processes.end();
    await removeFolder(folder);
  });
  afterEach(closeOutside);

  async function outcome(server: Running): Promise<string> {
    server.signal('SIGUSR2');
    for (let tries = 0; tries < 200; tries++) {
      const [, said] = /fetch (\w+)\./.exec(server.output().stderr) ?? [];
      if (said !== undefined) return said;
      await delay(50);
    }
    return 'nothing';
  }

  it('reaches no other server, but serves the trial login', async () => {
    const inside = await startOutside((_, response) => response.end('secret'), { address: PRIVATE, tls: false });
    const command = [NODE, '--import', `data:text/javascript,${encodeURIComponent(FETCHES)}`, MAIN];
    const fetched = `http://${PRIVATE}:${inside.port}/latest/meta-data`;
    const server = await processes.ready(command, { GATEHOUSE_DATA_DIR: folder, FETCHED: fetched });
    assert.equal(await outcome(server), 'TypeError');
    assert.deepEqual(inside.requests, []);
    const { account } = JSON.parse(await readFile(join(folder, 'bootstrap.json'), 'utf8')) as Bootstrap;
    const person = new Person({ issuer: server.url, account });
    const { page, response } = await person.walk(`${server.url}/try-login`);
    assert.equal(response.status, 200, page);
    assert.match(page, /demo@example\.com/);
  });
});
