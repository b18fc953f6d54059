/** A server with a TLS listener of its own, which knows the authority of the clients that bring a certificate. */
import { certify, type Certified } from './certificates.ts';
import { startGatehouse, type Gatehouse } from '../node/gatehouse.ts';
import { freeAddresses, type Environment } from '../node/process.ts';

export interface TlsScene {
  readonly gatehouse: Gatehouse;
  /** Issued the listener's own certificate, too. */
  readonly authority: Certified;
  /** Where the listener is. */
  readonly mtls: string;
}

export async function startWithTls(environment: Environment = {}): Promise<TlsScene> {
  const authority = await certify({ subject: 'CN=Clients of the bank', authority: true });
  const server = await certify({
    subject: 'CN=127.0.0.1',
    by: authority,
    names: [{ type: 'ip', value: '127.0.0.1' }],
  });
  const { port } = await freeAddresses();
  const gatehouse = await startGatehouse({
    environment: {
      GATEHOUSE_TLS_PORT: String(port),
      GATEHOUSE_TLS_CERTIFICATE_FILE: 'given.pem',
      GATEHOUSE_TLS_KEY_FILE: 'given.pem',
      ...environment,
    },
    tls: {
      context: { cert: server.cert, key: server.key, ca: authority.cert },
      authorities: [authority.certificate],
    },
  });
  return { gatehouse, authority, mtls: `https://127.0.0.1:${port}` };
}
