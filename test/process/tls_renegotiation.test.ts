import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../../src/http/server.ts';
import { TlsFiles } from '../../src/http/tls_files.ts';
import { certify, type Certified } from '../support/network/certificates.ts';
import { removeFolder } from '../support/node/folder.ts';

/**
 * In TLS 1.2 a client may ask for another handshake on a connection, and bring another certificate to it: one that it
 * made itself, with the name of another client. Node says of the connection that it is authorized when the first one
 * was, and still says so while the certificate that it shows is the second one.
 */
describe('a TLS connection', () => {
  let folder: string;
  let server: HttpServer;
  let port: number;
  let authority: Certified;
  let client: Certified;
  let files: TlsFiles;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-tls-'));
    authority = await certify({ subject: 'CN=Clients of the bank', authority: true });
    client = await certify({ subject: 'CN=payments', by: authority });
    const names = [{ type: 'ip', value: '127.0.0.1' } as const];
    const its = await certify({ subject: 'CN=127.0.0.1', by: authority, names });
    const path = (file: string): string => join(folder, file);
    await writeFile(path('server.pem'), its.cert);
    await writeFile(path('key.pem'), its.key);
    await writeFile(path('clients.pem'), authority.cert);
    const identity = { certificate: path('server.pem'), key: path('key.pem') };
    files = await TlsFiles.open({ identity, clientCa: path('clients.pem') });
    server = new HttpServer((_request, response) => response.end('done'), files.context());
    port = await server.listen('127.0.0.1', 0);
  });
  after(async () => {
    await server.drain(0);
    await removeFolder(folder);
  });

  for (const when of ['at first', 'with a certificate that was renewed']) {
    it(`has one handshake and no other: no connection becomes another client’s, ${when}`, async () => {
      if (when !== 'at first') server.renew(files.context()!);
      const ours = { ca: authority.cert, cert: client.cert, key: client.key };
      const socket = connect({ port, host: '127.0.0.1', maxVersion: 'TLSv1.2', ...ours });
      const failed = once(socket, 'error');
      await once(socket, 'secureConnect');
      const again = new Promise<string>((resolve) => {
        socket.renegotiate({ rejectUnauthorized: true }, (error) => resolve(error ? 'refused' : 'done'));
      });
      assert.notEqual(await Promise.race([again, failed.then(() => 'refused')]), 'done');
      socket.destroy();
    });
  }
});
