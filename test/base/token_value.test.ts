import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomTokenValue } from '../../src/base/token_value.ts';

describe('token values', () => {
  const values = Array.from({ length: 10_000 }, () => randomTokenValue());

  it('have 256 bits each and never repeat', () => {
    assert.equal(new Set(values).size, values.length);
    for (const value of values) assert.match(value, /^[A-Za-z0-9_-]{43}$/);
  });

  it('are random in every byte', () => {
    const bytes = values.map((value) => Buffer.from(value, 'base64url'));
    for (let place = 0; place < 32; place++) {
      // of 256 possible bytes, 10,000 values miss less than one on average
      const seen = new Set(bytes.map((value) => value[place]));
      assert.ok(seen.size >= 250, `byte ${place} has only ${seen.size} values`);
    }
  });
});
