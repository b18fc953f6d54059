/** A checkpoint: what it says, how it is signed and how a signature is checked. A JWS in compact form (RFC 7515). */
import { createPublicKey, verify } from 'node:crypto';
import { decodeProtectedHeader, type JWK } from 'jose';
import type { AuditKeys } from './audit_keys.ts';
import { canonical, sha256 } from './canonical.ts';

/** Part of a stream that a checkpoint vouches for: the links after the one before, up to its head. */
export interface Segment {
  readonly stream: string;
  /** The number of the last link that an earlier checkpoint named; 0 when none did. */
  readonly after: number;
  /** The number and the hash of the last link. */
  readonly number: number;
  readonly head: string;
  /** When the earliest entry of the segment occurred. */
  readonly begins_at: string;
}

export interface Checkpoint {
  /** 1 for the first, and then one more each, whichever node makes it. */
  readonly number: number;
  /** The hash of the checkpoint before (of its JWS as text), and when that was made; null for the first. */
  readonly previous: string | null;
  readonly previous_made_at: string | null;
  readonly made_at: string;
  /** Entries from before this time may be without a link: they were written by a version that made none. */
  readonly chained_since: string;
  /** What is older than this may have been dropped, as the operator wishes; null where everything is kept. */
  readonly retained_from: string | null;
  readonly streams: readonly Segment[];
}

const CHECKPOINT_TYPE = 'gatehouse-audit-checkpoint';

export function signCheckpoint(checkpoint: Checkpoint, keys: AuditKeys): string {
  const header = canonical({ alg: 'EdDSA', kid: keys.kid, typ: CHECKPOINT_TYPE });
  const signed = `${encode(header)}.${encode(canonical(checkpoint))}`;
  return `${signed}.${keys.sign(signed).toString('base64url')}`;
}

/** What it says, without asking who signed it; `undefined` for what is no checkpoint at all. */
export function readCheckpoint(jws: string): Checkpoint | undefined {
  try {
    const payload = JSON.parse(Buffer.from(jws.split('.')[1]!, 'base64url').toString()) as Checkpoint;
    return Number.isInteger(payload.number) && Array.isArray(payload.streams) ? payload : undefined;
  } catch {
    return undefined;
  }
}

/** What one of the keys signed; `undefined` for everything else. */
export function verifyCheckpoint(jws: string, keys: readonly JWK[]): Checkpoint | undefined {
  try {
    const [header, payload, signature, ...more] = jws.split('.');
    const { alg, kid, typ } = decodeProtectedHeader(jws);
    const key = keys.find((candidate) => candidate.kid === kid);
    if (more.length > 0 || !key || alg !== 'EdDSA' || typ !== CHECKPOINT_TYPE) return undefined;
    const publicKey = createPublicKey({ key: key, format: 'jwk' });
    const signed = Buffer.from(`${header}.${payload}`);
    const isSigned = verify(null, signed, publicKey, Buffer.from(signature!, 'base64url'));
    return isSigned ? readCheckpoint(jws) : undefined;
  } catch {
    return undefined;
  }
}

/** What the next checkpoint calls this one by. */
export function checkpointHash(jws: string): string {
  return sha256(jws).toString('base64url');
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64url');
}
