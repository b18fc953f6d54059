/**
 * The attestation of a new passkey: what its authenticator says about its own model. The server asks for none, and a
 * browser then sends none, or a signature with the passkey's own key (self attestation: WebAuthn Level 3, 6.5.4 and 8.2).
 * Every other format has certificates. To check them, the library fetches revocation lists from addresses that the
 * certificates name, so such an answer must not reach it.
 */
import { decodeAttestationObject } from '@simplewebauthn/server/helpers';

const MEMBERS_OF_SELF_ATTESTATION = new Set<unknown>(['alg', 'sig']);

/** Whether the attestation object, in base64url, has no certificates. Throws if it is malformed. */
export function isWithoutCertificates(attestationObject: string): boolean {
  const decoded = decodeAttestationObject(new Uint8Array(Buffer.from(attestationObject, 'base64url')));
  const format = decoded.get('fmt');
  const members = [...(decoded.get('attStmt') as ReadonlyMap<unknown, unknown>).keys()];
  if (format === 'none') return members.length === 0;
  return format === 'packed' && members.every((member) => MEMBERS_OF_SELF_ATTESTATION.has(member));
}
