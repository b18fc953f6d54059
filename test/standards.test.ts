import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { TestName } from './support/test_names/recorder.ts';

const ROOT = join(import.meta.dirname, '..');
const PRINT = join(import.meta.dirname, 'support/test_names/print.ts');

/** Advisories, modules of the conformance suite, and cases of our own catalogue of attacks. */
const ID =
  /\b(?:CVE-\d{4}-\d+|GHSA(?:-[0-9a-z]{4}){3}|GO-\d{4}-\d+|(?:oidcc|fapi2|fapi-ciba)-[\w-]+|(?:DISC|AUTH|JAR|PAR|TOK|DPOP|INT|REV|UI|DCR|DEV|CIBA|OUT|LOG|HTTP|ADM|MTLS)-(?:[A-Z]?\d{2}|D-[a-z_]+))\b/g;
const TEST_FILE = /`(test\/[\w/]+\.test\.ts)`/g;
/** The end of a table's row that is proved by one test: `test/code_flow.test.ts`: the authorization code flow */
const PROOF = /^\|.*\| `(test\/[\w/]+\.test\.ts)`: (.+?) +\|$/;

/** docs/standards.md and the tests are held against each other: neither can promise what the other doesn't know. */
describe('docs/standards.md', () => {
  const document = readFileSync(join(ROOT, 'docs/standards.md'), 'utf8');
  let names: readonly TestName[];
  before(async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [PRINT], { maxBuffer: 64 * 1024 * 1024 });
    names = JSON.parse(stdout) as TestName[];
  });

  it('is held against all the tests there are', () => {
    assert.ok(names.length > 2_500, `only ${names.length} names were found`);
    assert.ok(proofsIn(document).length >= 40, `only ${proofsIn(document).length} proofs`);
    assert.ok(idsIn(document).length >= 350, `only ${idsIn(document).length} ids`);
  });

  it('promises what a test proves, and leaves out nothing that one does', () => {
    assert.deepEqual([...complaintsAboutProofs(document, names), ...complaintsAboutIds(document, names)], []);
  });

  describe('would not pass', () => {
    const ran: readonly TestName[] = [
      { path: 'test/a.test.ts', name: 'the flow' },
      { path: 'test/a.test.ts', name: 'refuses it (CVE-2026-1, TOK-A02)' },
    ];
    const good = '| RFC 1 | a | always | `test/a.test.ts`: the flow |\n| CVE-2026-1, TOK-A02 | b | `test/a.test.ts` |';
    const complaints = (text: string): string[] => [
      ...complaintsAboutProofs(text, ran),
      ...complaintsAboutIds(text, ran),
    ];

    it('as it does when all is well', () => assert.deepEqual(complaints(good), []));

    for (const [what, text, complaint] of [
      [
        'with a proof that is no test’s name',
        good.replace('the flow', 'the flood'),
        'test/a.test.ts has 0 tests named ‘the flood’, which proves a row.',
      ],
      [
        'with one test as the proof of two rows',
        `${good}\n| RFC 2 | c | always | \`test/a.test.ts\`: the flow |`,
        '‘the flow’ of test/a.test.ts proves more than one row.',
      ],
      [
        'with an id that no test bears',
        good.replace('TOK-A02', 'TOK-A02, TOK-A04'),
        'TOK-A04 is said to be tested in test/a.test.ts, and no test there bears it.',
      ],
      [
        'without an id that a test bears',
        good.replace('CVE-2026-1, ', ''),
        'CVE-2026-1 is tested in test/a.test.ts, and the document doesn’t say so.',
      ],
      [
        'with an id under those that don’t apply, though a test bears it',
        `${good}\n- Not here: \`TOK-A02\``,
        'TOK-A02 is said not to apply, and test/a.test.ts tests it.',
      ],
    ] as const) {
      it(what, () => assert.deepEqual(complaints(text), [complaint]));
    }
  });
});

/** One sentence for each proof that isn't the name of exactly one test, or that serves two rows. */
function complaintsAboutProofs(document: string, names: readonly TestName[]): string[] {
  const proofs = proofsIn(document);
  const missing = proofs.flatMap(({ path, name }) => {
    const found = names.filter((one) => one.path === path && one.name === name).length;
    return found === 1 ? [] : [`${path} has ${found} tests named ‘${name}’, which proves a row.`];
  });
  const keys = proofs.map(({ path, name }) => `‘${name}’ of ${path}`);
  const twice = new Set(keys.filter((key, index) => keys.indexOf(key) !== index));
  return [...missing, ...[...twice].map((key) => `${key} proves more than one row.`)];
}

function proofsIn(document: string): TestName[] {
  return document.split('\n').flatMap((line) => {
    const [, path, name] = PROOF.exec(line) ?? [];
    return path === undefined || name === undefined ? [] : [{ path, name }];
  });
}

/** One sentence for each id that only the document or only a test bears, or that a test bears though it doesn't apply. */
function complaintsAboutIds(document: string, names: readonly TestName[]): string[] {
  const promised = idsIn(document);
  const tested = names.flatMap(({ path, name }) => [...name.matchAll(ID)].map(([id]) => ({ id, path })));
  const keyOf = ({ id, path }: { id: string; path: string | undefined }): string => `${id} ${path}`;
  const [promisedKeys, testedKeys] = [new Set(promised.map(keyOf)), new Set(tested.map(keyOf))];
  return [
    ...promised.flatMap(({ id, path }) =>
      path === undefined || testedKeys.has(keyOf({ id, path }))
        ? []
        : [`${id} is said to be tested in ${path}, and no test there bears it.`],
    ),
    ...tested.flatMap((one) => {
      if (promisedKeys.has(keyOf({ id: one.id, path: undefined })))
        return [`${one.id} is said not to apply, and ${one.path} tests it.`];
      return promisedKeys.has(keyOf(one))
        ? []
        : [`${one.id} is tested in ${one.path}, and the document doesn’t say so.`];
    }),
  ];
}

/** Every id with each test file that its line names; one whose line names none is said not to apply. */
function idsIn(document: string): { readonly id: string; readonly path: string | undefined }[] {
  return document.split('\n').flatMap((line) => {
    const paths = [...line.matchAll(TEST_FILE)].map(([, path]) => path);
    const ids = [...line.replaceAll(TEST_FILE, '').matchAll(ID)].map(([id]) => id);
    return ids.flatMap((id) => (paths.length === 0 ? [{ id, path: undefined }] : paths.map((path) => ({ id, path }))));
  });
}
