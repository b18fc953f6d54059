import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { commonPasswordsFile } from '../../scripts/common_passwords.ts';
import { CommonPasswords } from '../../src/passwords/common_passwords.ts';

const FOLDER = join(import.meta.dirname, '../../src/passwords');

describe('the list of common passwords', () => {
  let words: readonly string[];
  let list: CommonPasswords;
  before(async () => {
    words = (await readFile(join(FOLDER, 'common_passwords.txt'), 'utf8')).trimEnd().split('\n');
    list = await CommonPasswords.load();
  });

  it('is what the script makes of the package, with its licence beside it', async () => {
    assert.equal(`${words.join('\n')}\n`, commonPasswordsFile());
    assert.match(await readFile(join(FOLDER, 'common_passwords.LICENSE.txt'), 'utf8'), /Permission is hereby granted/);
  });

  it('finds each of its words', () => {
    assert.ok(words.length > 40_000);
    assert.deepEqual(
      words.filter((word) => !list.has(word)),
      [],
    );
  });

  it('finds no word that it does not have', () => {
    const known = new Set(words);
    const others = words
      .flatMap((word) => [`${word}\u00e4`, word.slice(0, -1), ` ${word}`])
      .concat('', '\n', '~~~~', '!');
    assert.deepEqual(
      others.filter((word) => list.has(word) && !known.has(word)),
      [],
    );
  });

  it('takes less than half a megabyte', async () => {
    assert.ok((await readFile(join(FOLDER, 'common_passwords.txt'))).length < 500_000);
  });
});
