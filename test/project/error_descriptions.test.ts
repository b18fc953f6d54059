import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parsers } from 'prettier/plugins/typescript';

const ROOT = join(import.meta.dirname, '../..');
/** Their texts are for pages, mails, the terminal and the database, and never in an answer of the protocol. */
const OUTSIDE_ANSWERS = [
  'src/db/',
  'src/audit/',
  'src/oidc/storage/',
  'src/http/page_icons.ts',
  'src/login/',
  'src/mail/',
  'src/account_links/mail_texts.ts',
  'src/cli/',
  'src/process/',
  'src/config/',
  'src/config.ts',
  'src/bootstrap/',
];
/** Their values are documentation, log lines and messages of exceptions that no answer repeats. */
const NOT_IN_ANSWERS = new Set(['describe', 'meta', 'done', 'alarm', 'refusal', 'CannotStart', 'Error', 'TypeError']);
const FIELDS_NOT_IN_ANSWERS = new Set(['summary', 'help', 'examples']);
/** The start of a challenge, a page, and a list of names. */
const NO_DESCRIPTION = /^(?:(?:Bearer|DPoP) realm="$|<!doctype html>|application_type redirect_uris )/;
/** RFC 6749, 5.2. */
const DESCRIPTION = /^[\x20\x21\x23-\x5B\x5D-\x7E]*$/;

interface Node {
  readonly type: string;
  readonly value?: unknown;
  readonly callee?: { readonly name?: string; readonly property?: { readonly name?: string } };
  readonly key?: { readonly name?: string };
  readonly tag?: unknown;
}

/** The texts of a file that may become the description of an error: whole sentences, and the parts of templates. */
function textsOf(file: string): string[] {
  const texts: string[] = [];
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) return node.forEach(visit);
    if (typeof node !== 'object' || node === null || !('type' in node)) return;
    const { type, value, callee, key } = node as Node;
    const called = callee?.property?.name ?? callee?.name ?? '';
    if (/^(Call|New)Expression$/.test(type) && NOT_IN_ANSWERS.has(called)) return visit(callee);
    if (type === 'Property' && FIELDS_NOT_IN_ANSWERS.has(key?.name ?? '')) return;
    if (type === 'TaggedTemplateExpression' || type.startsWith('TS') || type === 'ImportDeclaration') return;
    if (type === 'TemplateElement') texts.push((value as { cooked: string }).cooked);
    if (type === 'Literal' && typeof value === 'string') texts.push(value);
    Object.entries(node).forEach(([name, child]) => name !== 'parent' && name !== 'comments' && visit(child));
  };
  visit(parsers.typescript.parse(readFileSync(join(ROOT, file), 'utf8'), { filepath: file } as never));
  // a sentence has words; other texts are names, patterns and parts of formats
  return texts.filter((text) => /[A-Za-z]{2,} [A-Za-z]{2,}/.test(text) && !NO_DESCRIPTION.test(text));
}

describe('the texts of the source that become descriptions of errors', () => {
  it('are printable ASCII without quotes and backslashes (FIELD-C13)', () => {
    const files = globSync('src/**/*.ts', { cwd: ROOT }).filter(
      (file) => !OUTSIDE_ANSWERS.some((one) => file.startsWith(one)),
    );
    const found = files.flatMap((file) => textsOf(file).map((text) => ({ file, text })));
    assert.ok(found.length > 300, `only ${found.length} texts were found`);
    assert.deepEqual(
      found.filter(({ text }) => !DESCRIPTION.test(text)),
      [],
    );
  });
});
