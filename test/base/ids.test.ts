import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { base62, base62OfUint32 } from '../../src/base/ids.ts';

describe('base 62', () => {
  it('writes a number as it writes the bytes of the number', () => {
    const bytes = Buffer.alloc(4);
    const numbers = [0, 1, 61, 62, 2 ** 31, 2 ** 32 - 1, ...Array.from({ length: 1_000 }, () => randomInt(2 ** 32))];
    for (const number of numbers) {
      bytes.writeUInt32BE(number);
      assert.equal(base62OfUint32(number), base62(bytes), String(number));
    }
  });
});
