/**
 * Trusted issuers are other servers whose signed statements this server accepts: assertions about a subject (RFC 7523,
 * RFC 8693) and software statements (RFC 7591, 2.3), for example. An admin registers each issuer with its keys or with
 * the URL where the issuer publishes them.
 */
import type { Feature } from '../lifecycle/feature.ts';
import { IssuerDirectory, type IssuerDirectorySettings } from './issuer_directory.ts';
import { StatementVerifier } from './statement_verifier.ts';

export interface Trust {
  readonly issuers: IssuerDirectory;
  readonly statements: StatementVerifier;
  readonly feature: Feature;
}

export function createTrust(settings: IssuerDirectorySettings): Trust {
  const issuers = new IssuerDirectory(settings);
  const feature: Feature = {
    caches: [{ topic: 'trusted_issuer', onChange: () => issuers.load(), load: () => issuers.load() }],
  };
  return { issuers, statements: new StatementVerifier(issuers), feature };
}
