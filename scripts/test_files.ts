/** Which test files the arguments of `npm test -- …` select. */
import { globSync } from 'node:fs';
import { dirname, join, relative } from 'node:path/posix';

const ALL = 'test/**/*.test.ts';

/**
 * Each argument is a folder below test/ or a test file, with or without `test/` in front; without an argument, all
 * files. Returns patterns for `node --test`. Throws where an argument selects no file, as `node --test` would succeed.
 */
export function testPatterns(selections: readonly string[], root: string): string[] {
  if (selections.length === 0) return [ALL];
  const files = globSync(ALL, { cwd: root });
  const folders = new Set(files.flatMap(foldersOf));
  return selections.map((selection) => {
    const path = join('test', relative('test', join('.', selection.replace(/^(?!\.?\/?test(?:\/|$))/, 'test/'))));
    if (path === 'test') return ALL;
    if (folders.has(path)) return `${path}/**/*.test.ts`;
    if (files.includes(path)) return path;
    const known = [...folders].map((folder) => relative('test', folder)).toSorted();
    throw new Error(`No test file is in '${selection}'. The folders with tests are: ${known.join(', ')}.`);
  });
}

/** `test/a/b/c.test.ts` is in `test/a/b` and in `test/a`. */
function foldersOf(file: string): string[] {
  const folder = dirname(file);
  return folder === 'test' ? [] : [folder, ...foldersOf(folder)];
}
