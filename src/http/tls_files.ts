/**
 * What TLS needs, read from files: this server's certificate and key, and the authorities of client certificates.
 * Certificates are renewed while the server runs, so the files are read again now and then; what can't be used leaves
 * the ones before in force.
 */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { CannotStart } from '../base/cannot_start.ts';

export interface TlsFilePaths {
  /** Our certificate with its chain, and its key, in PEM; `undefined` where there is no TLS listener. */
  readonly identity: { readonly certificate: string; readonly key: string } | undefined;
  /** The authorities of client certificates, in PEM. */
  readonly clientCa: string | undefined;
}

interface Contents {
  readonly identity: { readonly cert: string; readonly key: string } | undefined;
  readonly authorities: readonly X509Certificate[];
}

/** A file can't be used, as one sentence. */
class BadTlsFile extends CannotStart {}

/**
 * TLS 1.2 with what RFC 9325 (4.2) recommends and FAPI 2.0 demands, and TLS 1.3. A certificate is asked for and not
 * demanded: most requests need none, and who issued it is judged where it is used.
 */
const TERMS = {
  minVersion: 'TLSv1.2',
  ciphers: [
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'TLS_AES_128_GCM_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
  ].join(':'),
  // a second handshake may bring another certificate, and Node looks at whether one is verified after the first alone
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  // an authority that the operator named is trusted, be it a root or not
  allowPartialTrustChain: true,
} as const;

export class TlsFiles {
  readonly #paths: TlsFilePaths;
  #contents: Contents;

  private constructor(paths: TlsFilePaths, contents: Contents) {
    this.#paths = paths;
    this.#contents = contents;
  }

  /** Throws a `CannotStart` that names the variable of a file that is missing or can't be used. */
  static async open(paths: TlsFilePaths): Promise<TlsFiles> {
    return new TlsFiles(paths, await read(paths));
  }

  /** Whose client certificates prove a name. */
  readonly authorities = (): readonly X509Certificate[] => this.#contents.authorities;

  /** For the TLS listener, where there is one. */
  context(): SecureContextOptions | undefined {
    return this.#contents.identity && terms(this.#contents.identity, this.#contents.authorities);
  }

  /** Whether the files say something new since; throws what `open` throws, and then nothing has changed. */
  async renew(): Promise<boolean> {
    const before = fingerprint(this.#contents);
    const contents = await read(this.#paths);
    this.#contents = contents;
    return fingerprint(contents) !== before;
  }
}

function fingerprint({ identity, authorities }: Contents): string {
  return JSON.stringify([identity, authorities.map((authority) => authority.fingerprint256)]);
}

async function read(paths: TlsFilePaths): Promise<Contents> {
  const identity = paths.identity && (await readIdentity(paths.identity));
  const authorities =
    paths.clientCa === undefined ? [] : certificatesIn(await text('GATEHOUSE_CLIENT_CA_FILE', paths.clientCa));
  if (identity) {
    attempt(
      () => createSecureContext(terms(identity, authorities)),
      'GATEHOUSE_TLS_CERTIFICATE_FILE and GATEHOUSE_TLS_KEY_FILE must be strong enough for TLS: 2048 bits for RSA.',
    );
  }
  return { identity, authorities };
}

function terms(
  identity: NonNullable<Contents['identity']>,
  authorities: readonly X509Certificate[],
): SecureContextOptions {
  // an empty list is not the same as none, which would stand for every authority that browsers know
  return { ...TERMS, ...identity, ca: authorities.map(String) };
}

async function readIdentity(paths: { readonly certificate: string; readonly key: string }) {
  const cert = await text('GATEHOUSE_TLS_CERTIFICATE_FILE', paths.certificate);
  const key = await text('GATEHOUSE_TLS_KEY_FILE', paths.key);
  const certificate = attempt(
    () => new X509Certificate(cert),
    'GATEHOUSE_TLS_CERTIFICATE_FILE must hold a certificate in PEM, followed by its chain.',
  );
  const privateKey = attempt(
    () => createPrivateKey(key),
    'GATEHOUSE_TLS_KEY_FILE must hold a private key in PEM, without a password.',
  );
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new BadTlsFile(
      'GATEHOUSE_TLS_KEY_FILE must hold the key of the certificate in GATEHOUSE_TLS_CERTIFICATE_FILE.',
    );
  }
  return { cert, key };
}

function certificatesIn(pem: string): readonly X509Certificate[] {
  const sentence = 'GATEHOUSE_CLIENT_CA_FILE must hold certificates of authorities in PEM.';
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [];
  const certificates = attempt(() => blocks.map((block) => new X509Certificate(block)), sentence);
  if (certificates.length === 0 || !certificates.every(({ ca }) => ca)) throw new BadTlsFile(sentence);
  return certificates;
}

async function text(variable: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const reason =
      { ENOENT: 'is not there', EACCES: 'may not be read by this user' }[code ?? ''] ?? `can't be read (${code})`;
    throw new BadTlsFile(`${variable} names ${path}, which ${reason}.`, { cause });
  }
}

function attempt<T>(work: () => T, sentence: string): T {
  try {
    return work();
  } catch {
    // what OpenSSL says of a key is for nobody's log
    throw new BadTlsFile(sentence);
  }
}
