import assert from 'node:assert/strict';
import { chown, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startEmbedded, type Embedded } from '../../src/db/embedded.ts';
import { openDatabase } from '../../src/db/open.ts';
import { certify } from '../support/network/certificates.ts';
import { removeFolder } from '../support/node/folder.ts';

/** Its socket and its address share a port, so it listens on addresses that no other PostgreSQL has. */
const NETWORK = `127.${64 + (process.pid % 64)}.${(process.pid >> 6) % 256}`;
const HOST = `${NETWORK}.1`;
/** Not in its certificate. */
const OTHER_HOST = `${NETWORK}.2`;
/** As whom PostgreSQL runs where the tests run as root. */
const ORDINARY_USER = 65_534;

describe('a PostgreSQL that speaks TLS with a certificate of a private authority', () => {
  const warnings: string[] = [];
  const warned = ({ message }: Error): void => void warnings.push(message);
  let folder = '';
  let postgres: Embedded;
  before(async () => {
    process.on('warning', warned);
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-tls-'));
    const authority = await certify({ subject: 'CN=Private authority', authority: true });
    const server = await certify({ subject: 'CN=database', names: [{ type: 'ip', value: HOST }], by: authority });
    const user = await certify({ subject: 'CN=gatehouse', by: authority });
    const files = {
      'ca.pem': authority.cert,
      'server.pem': server.cert,
      'server-key.pem': server.key,
      'user.pem': user.cert,
      'user-key.pem': user.key,
      'pg_hba.conf': 'local all all trust\nhostssl certified all 127.0.0.0/8 cert\nhostssl all all 127.0.0.0/8 trust\n',
    };
    for (const [name, content] of Object.entries(files)) await writeFile(path(name), content, { mode: 0o600 });
    if (process.getuid?.() === 0)
      for (const name of Object.keys(files)) await chown(path(name), ORDINARY_USER, ORDINARY_USER);
    postgres = await startEmbedded(folder, [
      'fsync=off',
      `listen_addresses=${HOST},${OTHER_HOST}`,
      'ssl=on',
      `ssl_ca_file=${path('ca.pem')}`,
      `ssl_cert_file=${path('server.pem')}`,
      `ssl_key_file=${path('server-key.pem')}`,
      `hba_file=${path('pg_hba.conf')}`,
    ]);
    const opened = await openDatabase(settings(postgres.url));
    await opened.pool.query('create database certified');
    await opened.close();
  });
  after(async () => {
    process.off('warning', warned);
    await postgres?.stop();
    await removeFolder(folder);
  });

  const path = (name: string): string => join(folder, name);
  const settings = (databaseUrl: string) => ({ databaseUrl, dataDir: '', maxConnections: 1, onIdleError: () => {} });
  const url = (query: string, host = HOST, database = 'postgres'): string =>
    `postgres://gatehouse@${host}/${database}?${query.replaceAll('CA', encodeURIComponent(path('ca.pem')))}`;
  const isEncrypted = async (databaseUrl: string): Promise<boolean> => {
    const opened = await openDatabase(settings(databaseUrl));
    try {
      const { rows } = await opened.pool.query<{ ssl: boolean }>(
        'select ssl from pg_stat_ssl where pid = pg_backend_pid()',
      );
      return rows[0]!.ssl;
    } finally {
      await opened.close();
    }
  };

  for (const query of [
    'sslmode=verify-full&sslrootcert=CA',
    'sslmode=verify-ca&sslrootcert=CA',
    'sslmode=require&sslrootcert=CA',
    'uselibpqcompat=true&sslmode=require',
    'sslmode=no-verify',
  ]) {
    it(`is spoken to with ${query}, and Node warns of nothing (FIELD-F4)`, async () => {
      assert.equal(await isEncrypted(url(query)), true);
      assert.deepEqual(warnings, []);
    });
  }

  it('is refused with sslmode=require while nothing says whose certificates to trust (FIELD-F4)', async () => {
    await assert.rejects(openDatabase(settings(url('sslmode=require'))), {
      message: `The database at ${HOST}:5432 can't be reached: self-signed certificate in certificate chain. Name the file with the certificate of its authority: sslmode=verify-full&sslrootcert=/path/ca.pem in DATABASE_URL.`,
    });
    assert.deepEqual(warnings, []);
  });

  it('is refused where its certificate has another name (FIELD-F4)', async () => {
    await assert.rejects(openDatabase(settings(url('sslmode=verify-full&sslrootcert=CA', OTHER_HOST))), {
      message: /can't be reached: .* Use a host name in DATABASE_URL that is in its certificate\.$/,
    });
  });

  it('takes the certificate of its user in the place of a password (FIELD-F4)', async () => {
    const own = `&sslcert=${encodeURIComponent(path('user.pem'))}&sslkey=${encodeURIComponent(path('user-key.pem'))}`;
    const verified = 'sslmode=verify-full&sslrootcert=CA';
    assert.equal(await isEncrypted(url(verified + own, HOST, 'certified')), true);
    await assert.rejects(openDatabase(settings(url(verified, HOST, 'certified'))), /requires a valid client cert/);
  });
});
