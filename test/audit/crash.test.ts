import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { AuditedServer } from '../support/node/audited_server.ts';
import { postForm, requestToken } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { isGone, type Ending, type Server } from '../support/node/process.ts';

interface Credentials {
  readonly client_id: string;
  readonly client_secret: string;
}

describe('the evidence of a server that is killed under load', () => {
  let audited: AuditedServer;
  let server: Server;
  let demo: Credentials;
  before(async () => {
    audited = await AuditedServer.prepare();
    server = await audited.start();
    demo = (JSON.parse(await readFile(inFolder('bootstrap.json'), 'utf8')) as { demo: Credentials }).demo;
  });
  after(() => audited.end());

  const gatehouse = (...words: string[]): Promise<Ending> => audited.audit(...words);
  const inFolder = (name: string): string => audited.path(name);

  async function exportTo(name: string, ...options: string[]): Promise<string> {
    const { code, stdout, stderr } = await gatehouse('export', ...options);
    assert.equal(code, 0, stderr);
    await writeFile(inFolder(name), stdout);
    return stdout;
  }

  it('is whole: every answer that was given is in it, and a verifier needs nothing but the file and the key', async () => {
    await requestToken(server.url, demo);
    let given = 0;
    const load = Array.from({ length: 8 }, async () => {
      for (;;) {
        const answer = await postForm(`${server.url}/token`, { grant_type: 'client_credentials' }, demo).catch(
          () => {},
        );
        if (answer?.status !== 200) return;
        await answer.json().catch(() => {});
        given++;
      }
    });
    await eventually(() => Promise.resolve(given > 100), 30_000);
    server.signal('SIGKILL');
    await Promise.all(load);
    await isGone(server.pid);

    const keys = await gatehouse('keys');
    await writeFile(inFolder('keys.json'), keys.stdout);
    const text = await exportTo('export.ndjson');
    const issued = text.split('\n').filter((line) => line.includes('"event":"token.issued"')).length;
    assert.ok(issued >= given, `${given} answers and ${issued} entries.`);
    const { code, stdout, stderr } = await audited.auditElsewhere(
      'verify',
      inFolder('export.ndjson'),
      '--key',
      inFolder('keys.json'),
    );
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /^Proven: \d+ entries, none changed, removed or added\.\nFrom checkpoint 1 /);
  });

  it('continues when the server is back', async () => {
    const again = await audited.start();
    await requestToken(again.url, demo);
    again.signal('SIGTERM');
    assert.equal((await again.ended()).code, 0);
    await exportTo('later.ndjson');
    const { stdout } = await gatehouse('verify', inFolder('later.ndjson'), '--key', inFolder('keys.json'));
    assert.match(stdout, /^Proven/);
    const hash = /hash of the last checkpoint is (\S+)\. Keep/.exec(stdout)?.[1] ?? '';
    const known = await gatehouse(
      'verify',
      inFolder('later.ndjson'),
      '--key',
      inFolder('keys.json'),
      '--contains',
      hash,
    );
    assert.equal(known.code, 0);
    const unknown = await gatehouse(
      'verify',
      inFolder('export.ndjson'),
      '--key',
      inFolder('keys.json'),
      '--contains',
      hash,
    );
    assert.equal(unknown.code, 1);
    assert.match(unknown.stdout, /^Not proven\. There is no checkpoint/);
  });

  it('is refused in a sentence when a line of it was changed, and the exit code says so', async () => {
    const text = await readFile(inFolder('export.ndjson'), 'utf8');
    const lines = text.split('\n');
    const changed = lines.findIndex((line) => line.includes('"event":"token.issued"'));
    lines[changed] = lines[changed]!.replace('"outcome":"success"', '"outcome":"refused"');
    await writeFile(inFolder('changed.ndjson'), lines.join('\n'));
    const { code, stdout } = await gatehouse('verify', inFolder('changed.ndjson'), '--key', inFolder('keys.json'));
    assert.equal(code, 1);
    const { sequence, stream } = JSON.parse(lines[changed]) as { sequence: number; stream: string };
    assert.match(
      stdout,
      new RegExp(`^Not proven\\. Entry ${sequence} of stream ${stream} \\(token\\.issued, .+ was changed\\.\n$`),
    );
  });

  it('tells what is wrong with what it was given', async () => {
    const noKey = await gatehouse('verify', inFolder('export.ndjson'), '--key', inFolder('export.ndjson'));
    assert.deepEqual([noKey.code, noKey.stdout], [1, '']);
    assert.match(noKey.stderr, /contains no public key \(a JWK or a JWK set\)/);
    const noFile = await gatehouse('verify', inFolder('nothing'), '--key', inFolder('keys.json'));
    assert.equal(noFile.code, 1);
    assert.match(noFile.stderr, /cannot be read: ENOENT/);
    const noTime = await gatehouse('export', '--from', 'yesterday');
    assert.match(noTime.stderr, /--from must be a time/);
  });
});
