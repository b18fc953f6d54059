import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readdir, readFile } from 'node:fs/promises';
import { getPriority } from 'node:os';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { Argon2id } from '../../src/password_hashing/argon2id.ts';
import { Unavailable } from '../../src/base/unavailable.ts';
import { eventually } from '../support/node/operator.ts';
import { isAlive, isGone, NODE, Processes, type Running } from '../support/node/process.ts';

const PASSWORD = 'correct horse';
/** Of that password, and as cheap as it can be. */
const CHEAP = '$argon2id$v=19$m=8,p=1,t=1$Mn3zV8j8EYaEVEYu900sgA$ssXJbxMkkUIhhRr4FEFnAjC13zobEHsQIVArF8R4mjk';
/** From the tests of the reference implementation, with the parameters in the order that others write. */
const ELSEWHERE = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc';
const LOWEST = 19;

describe('hashing what people choose', () => {
  let argon2id: Argon2id;
  let begun: ChildProcess[] = [];
  const note = (message: unknown): void => void begun.push((message as { process: ChildProcess }).process);
  beforeEach(() => {
    argon2id = new Argon2id(2);
    begun = [];
    subscribe('child_process', note);
  });
  afterEach(async () => {
    unsubscribe('child_process', note);
    await argon2id.stop();
  });

  it('tells the right value from others, with any characters in it, and salts each hash', async () => {
    const values = [PASSWORD, '', 'pässwörd 密码 \0 \ud800', 'x'.repeat(4096)];
    for (const value of values) {
      const stored = await argon2id.hash(value);
      assert.match(stored, /^\$argon2id\$v=19\$m=19456,p=1,t=2\$[\w+/]{22}\$[\w+/]{43}$/);
      assert.ok(await argon2id.verify(stored, value));
      assert.ok(!(await argon2id.verify(stored, `${value}x`)));
      assert.notEqual(await argon2id.hash(value), stored);
    }
  });

  it('verifies what was hashed elsewhere', async () => {
    assert.ok(await argon2id.verify(ELSEWHERE, 'password'));
    assert.ok(!(await argon2id.verify(ELSEWHERE, 'Password')));
  });

  for (const damaged of ['', '$2b$10$abc', '$argon2i$v=19', '$argon2id$', '$argon2id$v=19$m=8', CHEAP.slice(0, -50)]) {
    it(`fails where ${damaged || 'nothing'} is stored, which is not the value's fault, and does not reveal the value`, () =>
      assert.rejects(
        argon2id.verify(damaged, PASSWORD),
        (error: Error) => !(error instanceof Unavailable) && !error.stack!.includes(PASSWORD),
      ));
  }

  it('begins one process, when it is first needed, with no variable of our environment but the folder of compiled code', async () => {
    assert.equal(begun.length, 0);
    await Promise.all(Array.from({ length: 6 }, () => argon2id.verify(CHEAP, PASSWORD)));
    assert.equal(begun.length, 1);
    const { pid, spawnargs } = begun[0]!;
    assert.ok(!spawnargs.join(' ').includes(PASSWORD));
    if (process.platform !== 'linux') return;
    const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').filter(Boolean);
    const names = environment.map((one) => one.split('=')[0]!);
    assert.deepEqual(names.toSorted(), [
      'NODE_CHANNEL_FD',
      'NODE_CHANNEL_SERIALIZATION_MODE',
      ...(process.env['NODE_COMPILE_CACHE'] ? ['NODE_COMPILE_CACHE'] : []),
      'UV_THREADPOOL_SIZE',
    ]);
  });

  it('gives way to everything else, with every thread that hashes', async () => {
    await Promise.all(Array.from({ length: 4 }, () => argon2id.hash(PASSWORD)));
    const pid = begun[0]!.pid!;
    assert.equal(getPriority(pid), LOWEST);
    if (process.platform !== 'linux') return;
    const threads = await Promise.all((await readdir(`/proc/${pid}/task`)).map((id) => thread(pid, id)));
    const pool = threads.filter(({ name }) => name.startsWith('libuv-worker'));
    assert.deepEqual(
      pool.map(({ niceness }) => niceness),
      [LOWEST, LOWEST],
    );
  });

  it('lets a hundred wait and turns the next away at once', async () => {
    const asked = Array.from({ length: 102 }, () => argon2id.verify(CHEAP, PASSWORD));
    assert.equal(argon2id.waiting, 100);
    await assert.rejects(argon2id.verify(CHEAP, PASSWORD), Unavailable);
    assert.ok((await Promise.all(asked)).every(Boolean));
    assert.equal(argon2id.waiting, 0);
  });

  it('turns away who has waited for five seconds', async (test) => {
    await argon2id.verify(CHEAP, PASSWORD);
    test.mock.timers.enable({ apis: ['setTimeout'] });
    const atOnce = [argon2id.hash(PASSWORD), argon2id.hash(PASSWORD)];
    const waits = assert.rejects(argon2id.hash(PASSWORD), Unavailable);
    test.mock.timers.tick(4_999);
    assert.equal(argon2id.waiting, 1);
    test.mock.timers.tick(1);
    assert.equal(argon2id.waiting, 0);
    await Promise.all([waits, ...atOnce]);
  });

  it('asks those to retry whose process was killed, and begins another', async () => {
    assert.ok(await argon2id.verify(CHEAP, PASSWORD));
    for (const round of [1, 2]) {
      const cut = [argon2id.hash(PASSWORD), argon2id.hash(PASSWORD)];
      begun.at(-1)!.kill('SIGKILL');
      for (const one of await Promise.allSettled(cut)) {
        assert.ok(one.status === 'rejected' && one.reason instanceof Unavailable);
        assert.match(one.reason.message, /SIGKILL/);
      }
      assert.ok(await argon2id.verify(CHEAP, PASSWORD));
      assert.equal(begun.length, 1 + round);
    }
  });

  it('ends its process when it is stopped', async () => {
    await argon2id.verify(CHEAP, PASSWORD);
    await argon2id.stop();
    assert.ok(!isAlive(begun[0]!.pid!));
  });
});

describe('the process that hashes', () => {
  const processes = new Processes();
  after(() => processes.end());

  /** Its parent, which writes the other's id before it does anything else. */
  const parent = (script: string): Running => {
    const whole = `
      import { subscribe } from 'node:diagnostics_channel';
      import { Argon2id } from ${JSON.stringify(new URL('../../src/password_hashing/argon2id.ts', import.meta.url))};
      subscribe('child_process', ({ process }) => queueMicrotask(() => console.log(process.pid)));
      const argon2id = new Argon2id(1);
      ${script}`;
    return processes.spawn([NODE, '--input-type=module', '--eval', whole]);
  };
  const said = (running: Running, what: string): Promise<void> =>
    eventually(() => Promise.resolve(running.output().stdout.includes(what)), 20_000);
  const childOf = (running: Running): number => Number.parseInt(running.output().stdout, 10);

  it('keeps its parent from ending while it works, and no longer', async () => {
    const running = parent(`await argon2id.hash('x'); console.log('hashed');`);
    const { code, stdout, stderr } = await running.ended();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.match(stdout, /hashed/);
    await isGone(childOf(running));
  });

  for (const [when, work] of [
    ['while it works', `setInterval(() => argon2id.hash('x').catch(() => {}), 5);`],
    ['while it is idle', `setInterval(() => {}, 1_000);`],
  ] as const) {
    it(`ends when its parent is killed ${when}`, async () => {
      const running = parent(`await argon2id.hash('x'); ${work} console.log('hashed');`);
      await said(running, 'hashed');
      assert.ok(isAlive(childOf(running)));
      running.signal('SIGKILL');
      assert.equal((await running.ended()).stderr, '');
      await isGone(childOf(running));
    });
  }

  it('lets its parent finish what is under way when a terminal signals both', async () => {
    const running = parent(`
      const wanted = new Set(['SIGINT', 'SIGTERM', 'SIGHUP']);
      for (const signal of wanted) process.on(signal, () => wanted.delete(signal));
      await argon2id.hash('x');
      console.log('hashed');
      while (wanted.size > 0) await argon2id.hash('x');
      await argon2id.hash('x');
      console.log('finished');`);
    await said(running, 'hashed');
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) running.signalGroup(signal);
    const { code, stdout, stderr } = await running.ended();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.match(stdout, /^\d+\nhashed\nfinished\n$/);
  });
});

async function thread(pid: number, id: string): Promise<{ readonly name: string; readonly niceness: number }> {
  const stat = await readFile(`/proc/${pid}/task/${id}/stat`, 'utf8');
  const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(stat)!;
  return { name: name!, niceness: Number(rest!.split(' ')[16]) };
}
