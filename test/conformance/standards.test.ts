import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { TestName } from '../support/test_names/recorder.ts';

const ROOT = join(import.meta.dirname, '../..');
const PRINT = join(ROOT, 'test/support/test_names/print.ts');

/** Advisories, modules of the conformance suite, and cases of our own catalogue of attacks. */
const ID =
  /\b(?:CVE-\d{4}-\d+|GHSA(?:-[0-9a-z]{4}){3}|GO-\d{4}-\d+|(?:oidcc|fapi2|fapi-ciba)-[\w-]+|FIELD-[A-Z]\d+[a-z]?|(?:DISC|AUTH|JAR|PAR|TOK|DPOP|INT|REV|UI|DCR|DEV|CIBA|OUT|LOG|HTTP|ADM|MTLS)-(?:[A-Z]?\d{2}|D-[a-z_]+))\b/g;
const TEST_FILE = /`(test\/[\w/]+\.test\.ts)`/g;
/** The end of a table's row that is proved by one test: `test/authorization/code_flow.test.ts`: the authorization code flow */
const PROOF = /^\|.*\| `(test\/[\w/]+\.test\.ts)`: (.+?) +\|$/;
/** Where each row needs such a proof, and where ids stand that no test is expected to bear. */
const PROVED = ['Standards', 'What real clients taught'];
const NOT_HERE = 'Modules that do not apply';

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
    const good = [
      '## Standards\n\n| Standard | Proof |\n| --- | --- |\n| RFC 1 | `test/a.test.ts`: the flow |',
      '## Flaws\n\n| Id | Test |\n| --- | --- |\n| CVE-2026-1, TOK-A02 | `test/a.test.ts` |',
    ].join('\n\n');
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
        good.replace(/(\| RFC 1 .*)/, '$1\n$1'),
        '‘the flow’ of test/a.test.ts proves more than one row.',
      ],
      [
        'with a row that nothing proves',
        good.replace(/(\| RFC 1 .*)/, '$1\n| RFC 2 | surely |'),
        'No test proves this row: | RFC 2 | surely |',
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
        'with an id for which no file is named',
        `${good}\n| CVE-2026-2 | somewhere |`,
        'CVE-2026-2 stands without the file of its test.',
      ],
      [
        'with an id under those that don’t apply, though a test bears it',
        `${good}\n\n### Modules that do not apply\n\n- Not here: \`TOK-A02\``,
        'TOK-A02 is said not to apply, and test/a.test.ts tests it.',
      ],
    ] as const) {
      it(what, () => assert.deepEqual(complaints(text), [complaint]));
    }
  });
});

/** One sentence for each row without a proof, for each proof that isn't the name of exactly one test, or serves two rows. */
function complaintsAboutProofs(document: string, names: readonly TestName[]): string[] {
  const unproved = linesOf(document).flatMap(({ section, line, isRow }) =>
    isRow && PROVED.includes(section) && !PROOF.test(line) ? [`No test proves this row: ${line}`] : [],
  );
  const proofs = proofsIn(document);
  const missing = proofs.flatMap(({ path, name }) => {
    const found = names.filter((one) => one.path === path && one.name === name).length;
    return found === 1 ? [] : [`${path} has ${found} tests named ‘${name}’, which proves a row.`];
  });
  const keys = proofs.map(({ path, name }) => `‘${name}’ of ${path}`);
  const twice = new Set(keys.filter((key, index) => keys.indexOf(key) !== index));
  return [...unproved, ...missing, ...[...twice].map((key) => `${key} proves more than one row.`)];
}

function proofsIn(document: string): TestName[] {
  return linesOf(document).flatMap(({ line }) => {
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
  const notHere = new Set(promised.flatMap(({ id, section }) => (section === NOT_HERE ? [id] : [])));
  return [
    ...promised.flatMap(({ id, path, section }) => {
      if (section === NOT_HERE) return [];
      if (path === undefined) return [`${id} stands without the file of its test.`];
      if (testedKeys.has(keyOf({ id, path }))) return [];
      return [`${id} is said to be tested in ${path}, and no test there bears it.`];
    }),
    ...tested.flatMap((one) => {
      if (notHere.has(one.id)) return [`${one.id} is said not to apply, and ${one.path} tests it.`];
      return promisedKeys.has(keyOf(one))
        ? []
        : [`${one.id} is tested in ${one.path}, and the document doesn’t say so.`];
    }),
  ];
}

interface Mention {
  readonly id: string;
  readonly path: string | undefined;
  readonly section: string;
}

/** Every id with each test file that its line names. */
function idsIn(document: string): Mention[] {
  return linesOf(document).flatMap(({ section, subsection, line }) => {
    const paths = [...line.matchAll(TEST_FILE)].map(([, path]) => path);
    const ids = [...line.replaceAll(TEST_FILE, '').matchAll(ID)].map(([id]) => id);
    const under = subsection === NOT_HERE ? NOT_HERE : section;
    return ids.flatMap((id) =>
      (paths.length === 0 ? [undefined] : paths).map((path) => ({ id, path, section: under })),
    );
  });
}

interface Line {
  readonly section: string;
  readonly subsection: string;
  readonly line: string;
  /** A row of a table, its head and the dashes below that left out. */
  readonly isRow: boolean;
}

function linesOf(document: string): Line[] {
  return document.split(/^## /m).flatMap((part) => {
    const section = part.slice(0, part.indexOf('\n'));
    return part.split(/^### /m).flatMap((below, index) => {
      const subsection = index === 0 ? '' : below.slice(0, below.indexOf('\n'));
      const lines = below.split('\n');
      const dashes = lines.findIndex((line) => /^\|[ |-]+\|$/.test(line));
      return lines.map((line, at) => ({
        section,
        subsection,
        line,
        isRow: line.startsWith('|') && dashes !== -1 && at > dashes,
      }));
    });
  });
}
