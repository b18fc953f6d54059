import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path/posix';
import { describe, it } from 'node:test';

/** The rooms of the house and whom each may import, besides itself. A file at the top of src is a room of its own. */
const MAY_IMPORT: Readonly<Record<string, string>> = {
  base: '',
  config: 'base',
  log: 'base',
  db: 'base',
  vault: 'base db',
  invalidation: 'base db',
  http: 'base log',
  lifecycle: 'base http invalidation',
  password_hashing: 'base lifecycle',
  egress: 'base lifecycle log',
  audit: 'base db vault lifecycle log',
  limits: 'base db lifecycle',
  outbox: 'base db audit invalidation vault egress lifecycle log',
  resources: 'base db audit invalidation lifecycle',
  clients: 'base db audit invalidation vault password_hashing lifecycle log',
  accounts: 'base db audit outbox password_hashing',
  keys: 'base db audit invalidation vault lifecycle',
  trust: 'base db audit invalidation clients egress lifecycle log',
  grant_policies: 'base db audit keys',
  registration: 'base db http audit invalidation vault limits clients egress trust lifecycle log',
  oidc: 'base db http audit invalidation vault limits resources clients accounts keys egress outbox trust grant_policies lifecycle log',
  login: 'base db http audit limits accounts log',
  admin:
    'base db http audit invalidation vault log resources clients accounts keys trust grant_policies registration password_hashing',
  maintenance: 'base db audit invalidation keys lifecycle',
  bootstrap: 'base db audit vault resources clients accounts password_hashing',
  app: 'base config log db vault invalidation http egress audit limits outbox resources clients accounts keys trust registration oidc login admin bootstrap maintenance password_hashing lifecycle',
  process: 'base config log db vault http bootstrap app',
  main: 'base process',
  cli: 'base config log db vault audit clients resources keys admin bootstrap maintenance password_hashing',
};

interface SourceFile {
  /** From the repository's root: `src/db/connection.ts`. */
  readonly path: string;
  readonly text: string;
}

describe('the layers', () => {
  const files = sourceFiles();

  it('are read from real files', () => {
    assert.ok(files.length > 0, 'No file found in src.');
    assert.ok(
      files.some((file) => importsOf(file).length > 0),
      'No import found in src.',
    );
  });

  it('hold in every file of src', () => {
    assert.deepEqual(violations(files), []);
  });

  const forbidden: readonly (SourceFile & { readonly rule: string })[] = [
    {
      path: 'src/clients/secret.ts',
      text: `import { verify } from '../accounts/password.ts';`,
      rule: `src/clients/secret.ts imports '../accounts/password.ts': clients may import only base, db, audit, invalidation, vault, password_hashing, lifecycle, log.`,
    },
    {
      path: 'src/base/ids.ts',
      text: `import type { Config } from '../config.ts';`,
      rule: `src/base/ids.ts imports '../config.ts': base may import nothing.`,
    },
    {
      path: 'src/db/lazy.ts',
      text: `await import('../app.ts');`,
      rule: `src/db/lazy.ts imports '../app.ts': db may import only base.`,
    },
    {
      path: 'src/oidc/several_lines.ts',
      text: `import {\n  page,\n} from '../login/page.ts';`,
      rule: `src/oidc/several_lines.ts imports '../login/page.ts': oidc may import only base, db, http, audit, invalidation, vault, limits, resources, clients, accounts, keys, egress, outbox, trust, grant_policies, lifecycle, log.`,
    },
    {
      path: 'src/http/passing_on.ts',
      text: `export { Secret } from '../audit/trail.ts';`,
      rule: `src/http/passing_on.ts imports '../audit/trail.ts': http may import only base, log.`,
    },
    {
      path: 'src/log.ts',
      text: `import '../test/support/database.ts';`,
      rule: `src/log.ts imports '../test/support/database.ts': what src needs is in src.`,
    },
    {
      path: 'src/db/connection.ts',
      text: `import { Secret } from '../base/secret';`,
      rule: `src/db/connection.ts imports '../base/secret': a relative import ends in .ts.`,
    },
    {
      path: 'src/utils/strings.ts',
      text: '',
      rule: `src/utils/strings.ts: the room utils is not in the table of test/layers.test.ts.`,
    },
    {
      path: 'src/clients/index.ts',
      text: '',
      rule: `src/clients/index.ts: no barrels; import from the file that has it.`,
    },
    {
      path: 'src/db/connection.ts',
      text: 'const url = process.env.DATABASE_URL;',
      rule: `src/db/connection.ts reads process.env: only src/config.ts does.`,
    },
    {
      path: 'src/db/migrate.ts',
      text: `import { env } from 'node:process';`,
      rule: `src/db/migrate.ts reads process.env: only src/config.ts does.`,
    },
  ];
  for (const { rule, ...file } of forbidden) {
    it(`would refuse: ${rule}`, () => assert.deepEqual(violations([file]), [rule]));
  }

  it('would refuse a second file that reaches into oidc-provider/lib', () => {
    const deep = (path: string): SourceFile => ({ path, text: `import x from 'oidc-provider/lib/x.js';` });
    assert.deepEqual(violations([deep('src/oidc/a.ts')]), []);
    assert.deepEqual(violations([deep('src/oidc/a.ts'), deep('src/oidc/b.ts')]), [
      'src/oidc/a.ts, src/oidc/b.ts import from oidc-provider/lib: keep what is outside semver in one file.',
    ]);
  });

  it('let the one reader of the environment read it', () => {
    assert.deepEqual(violations([{ path: 'src/config.ts', text: 'parse(process.env)' }]), []);
  });
});

function violations(files: readonly SourceFile[]): string[] {
  return [...files.flatMap(violationsOfFile), ...deepImports(files)];
}

function violationsOfFile(file: SourceFile): string[] {
  const room = roomOf(file.path);
  const allowed = MAY_IMPORT[room]?.split(' ').filter(Boolean);
  if (!allowed) return [`${file.path}: the room ${room} is not in the table of test/layers.test.ts.`];
  const found = importsOf(file).flatMap((specifier) => violationsOfImport(file, specifier, room, allowed));
  if (basename(file.path) === 'index.ts') found.push(`${file.path}: no barrels; import from the file that has it.`);
  if (file.path !== 'src/config.ts' && readsEnvironment(file.text)) {
    found.push(`${file.path} reads process.env: only src/config.ts does.`);
  }
  return found;
}

function violationsOfImport(file: SourceFile, specifier: string, room: string, allowed: readonly string[]): string[] {
  if (!specifier.startsWith('.')) return [];
  const says = `${file.path} imports '${specifier}'`;
  if (!specifier.endsWith('.ts')) return [`${says}: a relative import ends in .ts.`];
  const target = join(dirname(file.path), specifier);
  if (!target.startsWith('src/')) return [`${says}: what src needs is in src.`];
  if ([room, ...allowed].includes(roomOf(target))) return [];
  return [`${says}: ${room} may import ${allowed.length === 0 ? 'nothing' : `only ${allowed.join(', ')}`}.`];
}

function deepImports(files: readonly SourceFile[]): string[] {
  const reaching = files.filter((file) => importsOf(file).some((name) => name.startsWith('oidc-provider/lib')));
  if (reaching.length <= 1) return [];
  const paths = reaching.map((file) => file.path).join(', ');
  return [`${paths} import from oidc-provider/lib: keep what is outside semver in one file.`];
}

/** `src/db/connection.ts` is in the room db, `src/config.ts` in the room config. */
function roomOf(path: string): string {
  return (path.split('/')[1] ?? '').replace(/\.ts$/, '');
}

/** What stands after `from`, `import` and `import(`. TypeScript 7 brings no parser for this. */
function importsOf({ text }: SourceFile): string[] {
  const statements = text.matchAll(
    /^\s*(?:import|export|\})[^'"`;]*?\bfrom\s*(['"])(.+?)\1|^\s*import\s*(['"])(.+?)\3/gm,
  );
  const calls = text.matchAll(/\bimport\s*\(\s*(['"`])(.+?)\1/g);
  return [...[...statements].map((match) => match[2] ?? match[4] ?? ''), ...[...calls].map((match) => match[2] ?? '')];
}

function readsEnvironment(text: string): boolean {
  return /\bprocess\s*(\?\.|\.)\s*env\b|\bprocess\s*\[|['"]node:process['"]|\}\s*=\s*process\b/.test(text);
}

function sourceFiles(): SourceFile[] {
  const root = join(import.meta.dirname, '..');
  return globSync(join(root, 'src/**/*.ts'))
    .toSorted()
    .map((path) => ({ path: relative(root, path), text: readFileSync(path, 'utf8') }));
}
