import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { iconSprite } from '../../scripts/icons.ts';

describe('the icons of the pages', () => {
  it('are those of the installed package (`node scripts/icons.ts` renews them)', () => {
    const sprite = readFileSync(join(import.meta.dirname, '../../views/icons.svg'), 'utf8');
    assert.equal(sprite, iconSprite());
  });
});
