/** The operator's key. It seals data keys and nothing else, and never touches the database. */
import { createHash } from 'node:crypto';
import { open, seal } from './seal.ts';

export class MasterKey {
  /** Names the key on the rows that it seals, without telling anything about it. */
  readonly id: string;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    if (bytes.length !== 32) throw new RangeError('A master key has 32 bytes.');
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
