/** Identifiers that can't be guessed or counted, made of letters and digits alone. */
import { randomBytes, randomUUID } from 'node:crypto';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** The bytes as one big-endian number in base 62, padded so that every value of one size has one length. */
export function base62(bytes: Buffer): string {
  const length = Math.ceil((bytes.length * 8) / Math.log2(62));
  let rest = bytes.length === 0 ? 0n : BigInt(`0x${bytes.toString('hex')}`);
  let digits = '';
  for (let i = 0; i < length; i++) {
    digits = BASE62.charAt(Number(rest % 62n)) + digits;
    rest /= 62n;
  }
  return digits;
}

/** 128 random bits behind a prefix that says what the identifier names, as in `client_3f…`. */
type Named = 'client' | 'secret' | 'account' | 'key' | 'policy' | 'link' | 'message' | 'initial_access_token';

export function randomId(prefix: Named): string {
  return `${prefix}_${base62(randomBytes(16))}`;
}

/** A UUID of version 7 (RFC 9562, 5.7): those made later sort later, to the millisecond. */
export function timeOrderedUuid(now: Date): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now.getTime(), 0, 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

const LARGEST_TIME = 2 ** 48 - 1;

/** The same, made from one of version 4: Node keeps those ready, and this is done for every request. */
export function requestId(now: Date): string {
  const time = Math.min(Math.max(now.getTime(), 0), LARGEST_TIME);
  // in two small numbers, which is faster than one large
  const high = Math.floor(time / 0x1_0000).toString(16);
  const low = (time % 0x1_0000).toString(16);
  return `${high.padStart(8, '0')}-${low.padStart(4, '0')}-7${randomUUID().slice(15)}`;
}

/** When an id of `requestId` was made, to the millisecond; `undefined` for what is no such id. */
export function timeOfRequestId(id: string): Date | undefined {
  const [, high, low] = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.exec(id) ?? [];
  return high === undefined || low === undefined ? undefined : new Date(Number.parseInt(high + low, 16));
}
