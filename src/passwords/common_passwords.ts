/**
 * The most frequent passwords of public breaches, from a file of this folder (scripts/common_passwords.ts writes it). The
 * file stays in memory as its bytes, about 400 kB, and is searched by bisection.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const FILE = join(import.meta.dirname, 'common_passwords.txt');
const LINE_END = 0x0a;

/** Returns the form in which passwords are compared: neither case nor the width of characters matters. */
export function inOneForm(password: string): string {
  return password.normalize('NFKC').toLowerCase();
}

export class CommonPasswords {
  readonly #lines: Buffer;

  private constructor(lines: Buffer) {
    this.#lines = lines;
  }

  static async load(): Promise<CommonPasswords> {
    return new CommonPasswords(await readFile(FILE));
  }

  /** `word` is in the form of `inOneForm`. */
  has(word: string): boolean {
    const wanted = Buffer.from(word);
    let low = 0;
    let high = this.#lines.length;
    while (low < high) {
      const start = this.#startOfLine((low + high) >> 1);
      const end = this.#lines.indexOf(LINE_END, start);
      const order = this.#lines.compare(wanted, 0, wanted.length, start, end);
      if (order === 0) return true;
      if (order < 0) low = end + 1;
      else high = start;
    }
    return false;
  }

  #startOfLine(at: number): number {
    return at === 0 ? 0 : this.#lines.lastIndexOf(LINE_END, at - 1) + 1;
  }
}
