/** The relying party of passkeys (WebAuthn, 4): the issuer's host, or a parent domain that an operator names. */
import { isIP } from 'node:net';
import { PHISHING_RESISTANT_ACR } from '../base/acr_values.ts';
import type { Complaint } from './cross_checks.ts';

/** `undefined` if the issuer's host is an IP address: browsers accept only names. */
export function passkeyRpId(issuer: string, given: string | undefined): string | undefined {
  const host = hostOf(issuer);
  return isIP(host) === 0 ? (given ?? host) : undefined;
}

/** The parsed variables; `undefined` if some are invalid. */
interface Passkeys {
  readonly ISSUER?: string | undefined;
  readonly PORT: number;
  readonly GATEHOUSE_PASSKEY_RP_ID?: string | undefined;
  readonly GATEHOUSE_REQUIRED_ACR?: string | undefined;
}

export function checkPasskeys(env: Passkeys | undefined): Complaint[] {
  if (!env) return [];
  const { ISSUER: issuer = `http://localhost:${env.PORT}`, GATEHOUSE_PASSKEY_RP_ID: rpId } = env;
  const host = hostOf(issuer);
  const complaints: Complaint[] = [];
  if (rpId !== undefined && !isParentOrSelf(rpId, host)) {
    const sentence = `must be the host of ISSUER (${host}), or a parent domain of it that has a dot.`;
    complaints.push(['GATEHOUSE_PASSKEY_RP_ID', sentence]);
  }
  if (env.GATEHOUSE_REQUIRED_ACR === PHISHING_RESISTANT_ACR && isIP(host) !== 0) {
    const sentence = `needs passkeys, which browsers refuse for an IP address: use a name in ISSUER instead of ${host}.`;
    complaints.push(['GATEHOUSE_REQUIRED_ACR', sentence]);
  }
  return complaints;
}

/** Browsers refuse a name that many owners share, such as `com`; each of them has a dot, or stands alone. */
function isParentOrSelf(rpId: string, host: string): boolean {
  return rpId === host || (rpId.includes('.') && host.endsWith(`.${rpId}`));
}

function hostOf(issuer: string): string {
  return new URL(issuer).hostname.replaceAll(/^\[|\]$/g, '');
}
