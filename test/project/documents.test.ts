import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const DOCUMENTS = ['*.md', '{docs,deploy,examples,bench,test}/**/*.md'];
/** A path from the repository's root, as documents write it. A path with braces or angle brackets is an example. */
const PATH =
  /(?<![\w/.@-])((?:src|test|docs|migrations|scripts|bench|views|examples|deploy|\.ci|\.github)\/[\w./*-]*[\w/*])(?![\w{<…])/g;
const LINK = /\]\(([^)\s]+)\)/g;
const NPM_SCRIPT = /\bnpm run (?:-s )?([\w:-]+)/g;
/** The resource that CONTRIBUTING.md uses as an example. */
const EXAMPLE = /\/(?:\d{4}_)?reports\b/;

describe('the documents', () => {
  const documents = globSync(DOCUMENTS, { cwd: ROOT, exclude: ['**/node_modules/**'] }).map((path) => ({
    path,
    text: readFileSync(join(ROOT, path), 'utf8'),
  }));

  it('are read from real files', () => {
    assert.ok(documents.length > 15, `only ${documents.length} documents`);
    assert.ok(documents.flatMap(pathsIn).length > 200, 'few paths were found');
  });

  it('name only paths that exist', () => {
    assert.deepEqual(documents.flatMap(missingPaths), []);
  });

  it('link only to files and headings that exist', () => {
    assert.deepEqual(documents.flatMap(brokenLinks), []);
  });

  it('name only scripts that package.json has', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
    const unknown = documents.flatMap(({ path, text }) =>
      [...text.matchAll(NPM_SCRIPT)].flatMap(([, name = '']) => (name in scripts ? [] : [`${path}: npm run ${name}`])),
    );
    assert.deepEqual(unknown, []);
  });

  it('would not pass with a path, a link or a heading that does not exist', () => {
    const path = 'docs/some.md';
    assert.deepEqual(missingPaths({ path, text: 'See `src/none.ts`, `src/main.ts` and `migrations/*.ts`.' }), [
      'docs/some.md: src/none.ts',
    ]);
    assert.deepEqual(brokenLinks({ path, text: '[a](none.md) [b](operating.md#none) [c](operating.md#upgrades)' }), [
      'docs/some.md: none.md',
      'docs/some.md: operating.md#none',
    ]);
  });
});

interface Document {
  readonly path: string;
  readonly text: string;
}

function pathsIn({ text }: Document): string[] {
  return [...text.matchAll(PATH)].map(([, path]) => path!);
}

function missingPaths(document: Document): string[] {
  return pathsIn(document).flatMap((path) => {
    if (EXAMPLE.test(path)) return [];
    const found = path.includes('*') ? globSync(path, { cwd: ROOT }).length > 0 : existsSync(join(ROOT, path));
    return found ? [] : [`${document.path}: ${path}`];
  });
}

function brokenLinks({ path, text }: Document): string[] {
  return [...text.matchAll(LINK)].flatMap(([, target = '']) => {
    if (/^[a-z]+:/.test(target)) return [];
    const [file = '', heading] = target.split('#');
    const linked = join(ROOT, file === '' ? path : join(dirname(path), file));
    const exists = existsSync(linked) && (heading === undefined || headingsOf(linked).includes(heading));
    return exists ? [] : [`${path}: ${target}`];
  });
}

/** Returns the anchors that GitHub creates for the headings of a file. */
function headingsOf(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}
