/**
 * Writes src/passwords/common_passwords.txt from the npm package @zxcvbn-ts/language-common (MIT), which has the most
 * frequent passwords of public breaches. Run it after an update of the package: `npm run passwords`.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dictionary } from '@zxcvbn-ts/language-common';
import { inOneForm } from '../src/passwords/common_passwords.ts';

/** Shorter words are too short to be most of a password. */
const SHORTEST = 4;

/** Returns the content of the file: one password a line, in the form in which they are compared, sorted by bytes. */
export function commonPasswordsFile(): string {
  const passwords = dictionary['passwords-common'].map((password) => inOneForm(password));
  const long = [...new Set(passwords)].filter((password) => password.length >= SHORTEST);
  const sorted = long.map((password) => Buffer.from(password)).toSorted((a, b) => Buffer.compare(a, b));
  return sorted.map((bytes) => `${bytes.toString()}\n`).join('');
}

if (import.meta.main) {
  await writeFile(join(import.meta.dirname, '../src/passwords/common_passwords.txt'), commonPasswordsFile());
}
