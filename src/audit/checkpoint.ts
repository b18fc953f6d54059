/** A checkpoint: its content, its signature as a JWS in compact form (RFC 7515), and the check of that signature. */
import { createPublicKey, verify } from 'node:crypto';
import { decodeProtectedHeader, type JWK } from 'jose';
import type { AuditKeys } from './audit_keys.ts';
import { canonical, sha256 } from './canonical.ts';

/** The part of a stream that a checkpoint covers: the links after the previous checkpoint, up to the head. */
export interface Segment {
  readonly stream: string;
  /** The number of the last link that an earlier checkpoint named; 0 if none did. */
  readonly after: number;
  /** The number and the hash of the last link. */
  readonly number: number;
  readonly head: string;
  /** The time of the segment's earliest entry. */
  readonly begins_at: string;
}

export interface Checkpoint {
  /** 1 for the first checkpoint, then one more each, whichever node makes it. */
  readonly number: number;
  /** The hash of the previous checkpoint's JWS and the time it was made; null for the first. */
  readonly previous: string | null;
  readonly previous_made_at: string | null;
  readonly made_at: string;
  /** Entries before this time may lack a link, because an earlier version wrote them. */
  readonly chained_since: string;
  /** Entries before this time may have been dropped by the operator's retention setting; null if all are kept. */
  readonly retained_from: string | null;
  readonly streams: readonly Segment[];
}

const CHECKPOINT_TYPE = 'gatehouse-audit-checkpoint';

export function signCheckpoint(checkpoint: Checkpoint, keys: AuditKeys): string {
  const header = canonical({ alg: 'EdDSA', kid: keys.kid, typ: CHECKPOINT_TYPE });
  const signed = `${encode(header)}.${encode(canonical(checkpoint))}`;
  return `${signed}.${keys.sign(signed).toString('base64url')}`;
}

/** Parses a checkpoint without verifying its signature; `undefined` if it is not a checkpoint. */
export function readCheckpoint(jws: string): Checkpoint | undefined {
  try {
    const payload = JSON.parse(Buffer.from(jws.split('.')[1]!, 'base64url').toString()) as Checkpoint;
    return Number.isInteger(payload.number) && Array.isArray(payload.streams) ? payload : undefined;
  } catch {
    return undefined;
  }
}

/** Verifies a checkpoint; `undefined` if none of the keys signed it or it is not a checkpoint. */
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

/** The hash by which the next checkpoint names this one. */
export function checkpointHash(jws: string): string {
  return sha256(jws).toString('base64url');
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64url');
}
