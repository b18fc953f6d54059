/**
 * Reads the files for TLS: this server's certificate and key, and the authorities for client certificates. The server
 * reads them again from time to time, because certificates are renewed while it runs; if new files are invalid, it
 * keeps the previous ones.
 */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { CannotStart } from '../base/cannot_start.ts';

export interface TlsFilePaths {
  /** The server certificate with its chain, and its key, in PEM; `undefined` without a TLS listener. */
  readonly identity: { readonly certificate: string; readonly key: string } | undefined;
  /** The authorities for client certificates, in PEM. */
  readonly clientCa: string | undefined;
}

interface Contents {
  readonly identity: { readonly cert: string; readonly key: string } | undefined;
  readonly authorities: readonly X509Certificate[];
}

/** A file is missing or invalid; the message is one sentence. */
class BadTlsFile extends CannotStart {}

/** TLS 1.3, and TLS 1.2 with the ciphers that RFC 9325 (4.2) recommends and FAPI 2.0 requires. */
const TLS_OPTIONS = {
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
  // a renegotiation may present another certificate, but Node checks only the one of the first handshake
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  // an authority that the operator configured is trusted even if it is not a root
  allowPartialTrustChain: true,
} as const;

export class TlsFiles {
  readonly #paths: TlsFilePaths;
  #contents: Contents;

  private constructor(paths: TlsFilePaths, contents: Contents) {
    this.#paths = paths;
    this.#contents = contents;
  }

  /** Reads the files. Throws a `CannotStart` that names the variable of a missing or invalid file. */
  static async open(paths: TlsFilePaths): Promise<TlsFiles> {
    return new TlsFiles(paths, await read(paths));
  }

  /** The authorities that client certificates may come from. */
  readonly authorities = (): readonly X509Certificate[] => this.#contents.authorities;

  /** The TLS options; `undefined` without a TLS listener. */
  context(): SecureContextOptions | undefined {
    return this.#contents.identity && tlsOptions(this.#contents.identity, this.#contents.authorities);
  }

  /** Reads the files again and returns whether they changed. Throws like `open`, and then keeps the previous ones. */
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
      () => createSecureContext(tlsOptions(identity, authorities)),
      'GATEHOUSE_TLS_CERTIFICATE_FILE and GATEHOUSE_TLS_KEY_FILE must be strong enough for TLS: 2048 bits for RSA.',
    );
  }
  return { identity, authorities };
}

function tlsOptions(
  identity: NonNullable<Contents['identity']>,
  authorities: readonly X509Certificate[],
): SecureContextOptions {
  // an empty list trusts no authority; an absent list would trust every authority that Node trusts
  return { ...TLS_OPTIONS, ...identity, ca: authorities.map(String) };
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
      { ENOENT: 'does not exist', EACCES: 'is not readable by this user' }[code ?? ''] ?? `cannot be read (${code})`;
    throw new BadTlsFile(`${variable} names ${path}, which ${reason}.`, { cause });
  }
}

function attempt<T>(work: () => T, sentence: string): T {
  try {
    return work();
  } catch {
    // OpenSSL's message about a key does not belong in the log
    throw new BadTlsFile(sentence);
  }
}
