import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { HttpServer } from '../../src/http/server.ts';
import { TlsFiles } from '../../src/http/tls_files.ts';
import { certify, fetchWith, type Certified } from '../support/network/certificates.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { eventually } from '../support/node/operator.ts';
import { freeAddresses, MAIN, NODE, Processes, type Environment } from '../support/node/process.ts';

describe('the TLS listener', () => {
  let folder = '';
  let authority: Certified;
  let first: Certified;
  let clientCa: Certified;
  const path = (file: string): string => join(folder, file);
  const write = (file: string, text: string): Promise<void> => writeFile(path(file), text);
  const forServer = (): Promise<Certified> =>
    certify({ subject: 'CN=127.0.0.1', by: authority, names: [{ type: 'ip', value: '127.0.0.1' }] });

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-tls-'));
    authority = await certify({ subject: 'CN=Servers', authority: true });
    clientCa = await certify({ subject: 'CN=Clients', authority: true });
    first = await forServer();
  });
  after(() => removeFolder(folder));
  beforeEach(async () => {
    await write('server.pem', first.cert);
    await write('key.pem', first.key);
    await write('clients.pem', `Our clients:\n${clientCa.cert}\n${authority.cert}`);
  });

  const open = (changed: { certificate?: string; key?: string; clientCa?: string } = {}): Promise<TlsFiles> =>
    TlsFiles.open({
      identity: { certificate: path(changed.certificate ?? 'server.pem'), key: path(changed.key ?? 'key.pem') },
      clientCa: path(changed.clientCa ?? 'clients.pem'),
    });

  describe('on its files', () => {
    it('knows every authority of client certificates in the file', async () => {
      const names = (await open()).authorities().map(({ subject }) => subject);
      assert.deepEqual(names, ['CN=Clients', 'CN=Servers']);
    });

    for (const [what, files, sentence] of [
      [
        'a certificate that is not there',
        { certificate: 'none.pem' },
        /^GATEHOUSE_TLS_CERTIFICATE_FILE names \S+none\.pem, which does not exist\.$/,
      ],
      [
        'a key that is not there',
        { key: 'none.pem' },
        /^GATEHOUSE_TLS_KEY_FILE names \S+none\.pem, which does not exist\.$/,
      ],
      [
        'authorities that are not there',
        { clientCa: 'none.pem' },
        /^GATEHOUSE_CLIENT_CA_FILE names \S+none\.pem, which does not exist\.$/,
      ],
      [
        'a key in the place of the certificate',
        { certificate: 'key.pem' },
        /^GATEHOUSE_TLS_CERTIFICATE_FILE must hold a certificate in PEM/,
      ],
      [
        'a certificate in the place of the key',
        { key: 'server.pem' },
        /^GATEHOUSE_TLS_KEY_FILE must hold a private key in PEM, without a password\.$/,
      ],
      [
        'a key of another certificate',
        { key: 'other-key.pem' },
        /^GATEHOUSE_TLS_KEY_FILE must hold the key of the certificate/,
      ],
      [
        'authorities that are none',
        { clientCa: 'server.pem' },
        /^GATEHOUSE_CLIENT_CA_FILE must hold certificates of authorities in PEM\.$/,
      ],
      [
        'authorities in an empty file',
        { clientCa: 'empty.pem' },
        /^GATEHOUSE_CLIENT_CA_FILE must hold certificates of authorities in PEM\.$/,
      ],
      [
        'a folder',
        { certificate: '.' },
        /^GATEHOUSE_TLS_CERTIFICATE_FILE names \S+, which cannot be read \(EISDIR\)\.$/,
      ],
    ] as const) {
      it(`says in one sentence what is wrong with ${what}`, async () => {
        await write('other-key.pem', (await forServer()).key);
        await write('empty.pem', '');
        await assert.rejects(open(files), { message: sentence });
      });
    }

    it('takes new ones, and keeps those before when the new ones can not be used', async () => {
      const files = await open();
      assert.equal(await files.renew(), false);
      const second = await forServer();
      await write('server.pem', second.cert);
      await assert.rejects(files.renew(), /must hold the key of the certificate/);
      assert.equal(files.context()?.cert, first.cert);
      await write('key.pem', second.key);
      await write('clients.pem', clientCa.cert);
      assert.equal(await files.renew(), true);
      assert.equal(files.context()?.cert, second.cert);
      assert.equal(files.authorities().length, 1);
      assert.equal(await files.renew(), false);
    });

    it('trusts no authority of client certificates where none was named, not even those that browsers know', async () => {
      const files = await TlsFiles.open({
        identity: { certificate: path('server.pem'), key: path('key.pem') },
        clientCa: undefined,
      });
      assert.deepEqual([files.context()?.ca, files.authorities()], [[], []]);
    });
  });

  describe('as a server', () => {
    let server: HttpServer;
    let files: TlsFiles;
    let port: number;
    beforeEach(async () => {
      files = await open();
      server = new HttpServer((request, response) => {
        if (request.url !== '/slow') response.end('done');
      }, files.context());
      port = await server.listen('127.0.0.1', 0);
    });
    afterEach(() => server.drain(0));

    const handshake = async (options: ConnectionOptions = {}): Promise<TLSSocket> => {
      const socket = connect({ port, host: '127.0.0.1', ca: authority.cert, ...options });
      socket.on('error', () => {});
      await Promise.race([
        once(socket, 'secureConnect'),
        once(socket, 'close').then(() => Promise.reject(new Error('refused'))),
      ]);
      return socket;
    };

    it('speaks TLS 1.2 and 1.3, nothing older, and only what FAPI 2.0 allows', async () => {
      for (const [maxVersion, protocol] of [
        ['TLSv1.2', 'TLSv1.2'],
        ['TLSv1.3', 'TLSv1.3'],
      ] as const) {
        const socket = await handshake({ maxVersion });
        assert.equal(socket.getProtocol(), protocol);
        socket.destroy();
      }
      const weak = { minVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0' } as const;
      await assert.rejects(handshake({ ...weak, maxVersion: 'TLSv1.1' }), /alert (protocol version|handshake failure)/);
      await assert.rejects(
        handshake({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' }),
        /alert (protocol version|handshake failure)/,
      );
      await assert.rejects(
        handshake({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-CHACHA20-POLY1305' }),
        /alert (protocol version|handshake failure)/,
      );
    });

    it('serves who brings no certificate, and who brings one from nowhere', async () => {
      for (const client of [undefined, await certify()]) {
        const response = await fetchWith(client, authority)(`https://127.0.0.1:${port}/`);
        assert.equal(await response.text(), 'done');
      }
    });

    it('shows another certificate from one connection to the next', async () => {
      const second = await forServer();
      await write('server.pem', second.cert);
      await write('key.pem', second.key);
      await files.renew();
      server.renew(files.context()!);
      const socket = await handshake();
      assert.equal(socket.getPeerX509Certificate()?.fingerprint256, second.certificate.fingerprint256);
      socket.destroy();
    });

    it('stops at once while idle connections are open, before and after their handshake', async () => {
      const silent: Socket[] = [connectTcp(port, '127.0.0.1'), await handshake()];
      for (const socket of silent) socket.on('error', () => {});
      await fetchWith(undefined, authority)(`https://127.0.0.1:${port}/`);
      const began = performance.now();
      await server.drain(60_000);
      assert.ok(performance.now() - began < 5_000, 'it waited for those who said nothing');
      for (const socket of silent) socket.destroy();
    });

    it('cuts a request that outlasts the grace, and a handshake that does', async () => {
      const slow = await handshake();
      slow.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n');
      const half = connectTcp(port, '127.0.0.1');
      half.on('error', () => {});
      await once(half, 'connect');
      // the beginning of a record that never comes to its end
      half.write(Buffer.from('16030100ff', 'hex'));
      await delay(50);
      const began = performance.now();
      await server.drain(100);
      assert.ok(performance.now() - began < 5_000, 'it waited for a handshake without an end');
      for (const socket of [slow, half]) socket.destroy();
    });
  });

  describe('of a process', () => {
    const processes = new Processes();
    let database: TestDatabase;
    before(async () => {
      database = await cloneDatabase();
    });
    after(async () => {
      await processes.end();
      await database.drop();
    });

    const environment = (port: number): Environment => ({
      DATABASE_URL: database.url,
      GATEHOUSE_DATA_DIR: path('data'),
      ISSUER: `https://127.0.0.1:${port}`,
      GATEHOUSE_TLS_PORT: String(port),
      GATEHOUSE_TLS_CERTIFICATE_FILE: path('server.pem'),
      GATEHOUSE_TLS_KEY_FILE: path('key.pem'),
      GATEHOUSE_CLIENT_CA_FILE: path('clients.pem'),
    });

    it('serves an https issuer, takes a renewed certificate without a restart, and stops when it should', async () => {
      const { port } = await freeAddresses();
      const issuer = `https://127.0.0.1:${port}`;
      const server = await processes.start(environment(port));
      const get = fetchWith(undefined, authority);
      const answer = await get(`${issuer}/.well-known/openid-configuration`);
      const metadata = (await answer.json()) as Readonly<Record<string, unknown>>;
      assert.deepEqual([metadata['issuer'], metadata['token_endpoint']], [issuer, `${issuer}/token`]);
      assert.equal(metadata['mtls_endpoint_aliases'], undefined);
      assert.match(answer.headers.get('strict-transport-security') ?? '', /max-age/);

      const anew = await certify({ subject: 'CN=Servers of tomorrow', authority: true });
      const second = await certify({ subject: 'CN=127.0.0.1', by: anew, names: [{ type: 'ip', value: '127.0.0.1' }] });
      await write('server.pem', second.cert);
      await write('key.pem', second.key);
      const get2 = fetchWith(undefined, anew);
      const renewed = async (): Promise<boolean> =>
        (await get2(`${issuer}/jwks`).catch(() => undefined))?.status === 200;
      const patience = performance.now() + 30_000;
      while (!(await renewed())) {
        assert.ok(performance.now() < patience, 'the certificate was not renewed');
        await delay(500);
      }
      // lines of the log leave together, a moment after they were written
      await eventually(() => Promise.resolve(server.output().stdout.includes('tls_files.renewed')));
      server.signal('SIGTERM');
      assert.equal((await server.ended()).code, 0);
    });

    it('does not start with a file that can not be used, and says which', async () => {
      const { port } = await freeAddresses();
      const given = { ...environment(port), GATEHOUSE_TLS_KEY_FILE: path('none.pem') };
      const { code, stderr } = await processes.run([NODE, MAIN], given);
      const sentence = `GATEHOUSE_TLS_KEY_FILE names ${path('none.pem')}, which does not exist.`;
      assert.deepEqual([code, stderr], [1, `Gatehouse can't start. ${sentence}\n`]);
    });
  });
});
