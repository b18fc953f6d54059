import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readConfig } from '../../src/config.ts';
import { complaints } from '../support/node/config_complaints.ts';
import { removeFolder } from '../support/node/folder.ts';

const KEY = randomBytes(32);
const TEXT = KEY.toString('base64');
const PREVIOUS = randomBytes(32);
const URL_OF_DATABASE = 'postgres://gatehouse:secret@database/gatehouse';

describe('secrets that are handed over as files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gatehouse-secrets-'));
  after(() => removeFolder(folder));
  let files = 0;
  const file = (content: string): string => {
    const path = join(folder, String(++files));
    writeFileSync(path, content);
    return path;
  };

  for (const [what, end] of [
    ['no line end', ''],
    ['a line end', '\n'],
    ['a line end of Windows', '\r\n'],
  ] as const) {
    it(`give the database and the master keys, with ${what} (FIELD-F4)`, () => {
      const { databaseUrl, masterKeys } = readConfig({
        DATABASE_URL_FILE: file(URL_OF_DATABASE + end),
        GATEHOUSE_MASTER_KEY_FILE: file(TEXT + end),
        GATEHOUSE_MASTER_KEY_PREVIOUS_FILE: file(PREVIOUS.toString('hex') + end),
      });
      assert.deepEqual({ databaseUrl, masterKeys }, { databaseUrl: URL_OF_DATABASE, masterKeys: [KEY, PREVIOUS] });
    });

    it(`are taken from variables just as well, with ${what} (FIELD-F4)`, () => {
      const { databaseUrl, masterKeys } = readConfig({
        DATABASE_URL: URL_OF_DATABASE + end,
        GATEHOUSE_MASTER_KEY: TEXT + end,
      });
      assert.deepEqual({ databaseUrl, masterKeys }, { databaseUrl: URL_OF_DATABASE, masterKeys: [KEY] });
    });
  }

  it('are refused at once where they are no regular files: a pipe could keep the start waiting for ever (FIELD-F10)', () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    for (const path of [pipe, '/dev/zero']) {
      assert.deepEqual(complaints({ GATEHOUSE_MASTER_KEY_FILE: path }), [
        'GATEHOUSE_MASTER_KEY_FILE names a file that is not a regular file.',
      ]);
    }
  });

  it('are enough for production (FIELD-F4)', () => {
    const production = { NODE_ENV: 'production', ISSUER: 'https://id.example.com' };
    const secrets = { DATABASE_URL_FILE: file(URL_OF_DATABASE), GATEHOUSE_MASTER_KEY_FILE: file(`${TEXT}\n`) };
    assert.deepEqual(readConfig({ ...production, ...secrets }).masterKeys, [KEY]);
    // one sentence for each: a secret whose file can't be used is not said to be missing as well
    assert.deepEqual(complaints({ ...production, ...secrets, DATABASE_URL_FILE: join(folder, 'missing') }), [
      'DATABASE_URL_FILE names a file that does not exist.',
    ]);
  });

  it('are refused where the secret is set twice (FIELD-F4)', () => {
    assert.deepEqual(complaints({ GATEHOUSE_MASTER_KEY: TEXT, GATEHOUSE_MASTER_KEY_FILE: file(TEXT) }), [
      'GATEHOUSE_MASTER_KEY_FILE must not be set together with GATEHOUSE_MASTER_KEY; keep one of them.',
    ]);
    assert.deepEqual(readConfig({ GATEHOUSE_MASTER_KEY: '', GATEHOUSE_MASTER_KEY_FILE: file(TEXT) }).masterKeys, [KEY]);
  });

  it('are refused with one sentence where the file can not be used, without its path or content (FIELD-F4)', () => {
    for (const [path, reason] of [
      [join(folder, 'missing'), 'names a file that does not exist'],
      // the secret itself in the wrong place
      [TEXT, 'names a file that does not exist'],
      [folder, 'names a file that is a folder'],
      [file(''), 'names a file that is empty'],
      [file('\n'), 'names a file that is empty'],
      [file('x'.repeat(65_537)), 'names a file that is larger than 65536 bytes'],
    ] as const) {
      assert.deepEqual(complaints({ GATEHOUSE_MASTER_KEY_FILE: path }), [`GATEHOUSE_MASTER_KEY_FILE ${reason}.`]);
    }
    assert.deepEqual(complaints({ GATEHOUSE_MASTER_KEY_FILE: file(`${TEXT}\n\n`) }), [
      'GATEHOUSE_MASTER_KEY must be 32 random bytes in base64 or hex; make one with: openssl rand -base64 32.',
    ]);
  });

  it('are no way for settings that are no secrets, and names that are paths already stay (FIELD-F4)', () => {
    assert.deepEqual(complaints({ GATEHOUSE_PROFILE_FILE: file('mcp') }), [
      'GATEHOUSE_PROFILE_FILE is not a variable of Gatehouse.',
    ]);
    const tls = {
      GATEHOUSE_TLS_PORT: '8443',
      GATEHOUSE_TLS_CERTIFICATE_FILE: 'c.pem',
      GATEHOUSE_TLS_KEY_FILE: 'k.pem',
    };
    assert.equal(readConfig(tls).tls?.keyFile, 'k.pem');
  });
});
