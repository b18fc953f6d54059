/** The operator's master key. It wraps data keys only, and is never stored in the database. */
import { createHash } from 'node:crypto';
import { open, seal } from './seal.ts';

export class MasterKey {
  /** Identifies the key in the rows that it wraps, without revealing it. */
  readonly id: string;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    if (bytes.length !== 32) throw new RangeError('A master key must have 32 bytes.');
    this.#bytes = Buffer.from(bytes);
    this.id = createHash('sha256').update('gatehouse master key id').update(bytes).digest('hex').slice(0, 16);
  }

  wrap(dataKey: Buffer, dataKeyId: string): Buffer {
    return seal(this.#bytes, dataKey, dataKeyId);
  }

  unwrap(wrapped: Buffer, dataKeyId: string): Buffer {
    return open(this.#bytes, wrapped, dataKeyId);
  }
}
