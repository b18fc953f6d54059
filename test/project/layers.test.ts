import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path/posix';
import { describe, it } from 'node:test';

/**
 * The folders of src, and the other folders that each may import. A file at the top of src belongs to the folder of its
 * name:
 * `src/log.ts` and `src/log/` are both `log`.
 */
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
  passwords: 'base egress lifecycle',
  audit: 'base db vault lifecycle log',
  limits: 'base db lifecycle',
  outbox: 'base db audit invalidation vault egress lifecycle log',
  mail: 'base audit vault outbox',
  resources: 'base db audit invalidation keys lifecycle',
  clients: 'base db audit invalidation vault keys password_hashing lifecycle log',
  accounts: 'base db audit outbox resources password_hashing passwords',
  factors: 'base db audit vault accounts account_links lifecycle log',
  account_links: 'base db audit outbox mail accounts',
  keys: 'base db audit invalidation vault lifecycle',
  trust: 'base db audit invalidation clients egress lifecycle log',
  grant_policies: 'base db audit keys',
  roles: 'base db audit invalidation clients accounts lifecycle',
  registration: 'base db http audit invalidation vault limits clients egress trust lifecycle log',
  oidc: 'base db http audit invalidation vault limits resources clients accounts keys egress outbox trust grant_policies roles lifecycle log',
  login: 'base db http audit vault limits outbox mail accounts account_links factors password_hashing passwords log',
  admin:
    'base db http audit invalidation vault limits log resources clients accounts factors keys trust grant_policies roles registration password_hashing passwords account_links',
  maintenance: 'base db audit invalidation accounts keys lifecycle',
  bootstrap: 'base db audit vault resources clients accounts password_hashing passwords',
  app: 'base config log db vault invalidation http egress audit limits outbox resources clients accounts factors keys trust roles registration oidc login admin bootstrap maintenance password_hashing passwords lifecycle mail account_links',
  process: 'base config log db vault http bootstrap app',
  main: 'base process',
  cli: 'base config log db vault audit clients resources keys admin bootstrap maintenance password_hashing',
};

/** The public file of each folder that has one. Other folders of src may import only this file. */
const PUBLIC_FILES: Readonly<Record<string, string>> = {
  admin: 'src/admin/admin.ts',
  app: 'src/app/app.ts',
  login: 'src/login/login.ts',
  oidc: 'src/oidc/oidc.ts',
};

/**
 * The modules of Node.js and the npm packages that each folder may import. A folder without an entry may import none.
 */
const MODULES: Readonly<Record<string, string>> = {
  main: 'node:cluster',
  process: 'node:cluster node:fs node:fs/promises node:http node:os node:path node:timers/promises',
  cli: 'node:fs node:fs/promises node:os node:readline node:stream node:stream/promises commander jose',
  config: 'node:fs node:net node:os node:path zod',
  log: 'node:fs node:module node:net pino pino-pretty',
  // base does no input and no output
  base: 'node:async_hooks node:crypto node:url node:util lru-cache zod',
  db: 'node:child_process node:crypto node:events node:fs node:fs/promises node:net node:os node:path node:timers/promises node:util cockatiel kysely pg',
  vault: 'node:crypto node:fs/promises node:path kysely lru-cache',
  invalidation: 'node:crypto node:timers/promises kysely pg',
  http: 'node:crypto node:events node:fs node:fs/promises node:http node:https node:module node:net node:path node:stream node:tls @koa/router eta koa prom-client zod',
  lifecycle: 'node:timers/promises',
  password_hashing: 'node:child_process node:module node:os node:path node:url argon2',
  passwords: 'node:crypto node:fs/promises node:path',
  egress: 'node:dns node:http node:https node:net cockatiel lru-cache',
  audit: 'node:crypto node:timers/promises jose kysely zod',
  limits: 'node:crypto node:perf_hooks node:timers kysely lru-cache pg rate-limiter-flexible',
  outbox: 'node:timers/promises kysely',
  mail: 'node:fs/promises node:path nodemailer',
  resources: 'node:module node:timers/promises ajv kysely zod',
  clients: 'node:crypto node:net node:timers/promises node:zlib kysely lru-cache zod',
  accounts: 'node:crypto kysely zod',
  keys: 'node:crypto node:util jose kysely lru-cache',
  trust: 'jose zod',
  grant_policies: 'kysely zod',
  roles: 'kysely zod',
  registration: 'node:crypto koa kysely zod',
  oidc: 'node:crypto node:http node:util jose koa koa-compose kysely lru-cache oidc-provider zod',
  factors: 'node:crypto @simplewebauthn/server @simplewebauthn/server/helpers otpauth zod',
  login: 'node:crypto @koa/router bowser jose koa oidc-provider uqr zod',
  admin: 'node:net node:stream koa zod',
  maintenance: 'node:timers/promises kysely',
  bootstrap: 'node:crypto node:fs/promises node:path kysely',
  app: 'node:crypto node:dns/promises node:http node:timers/promises koa pg',
};

/** The only file that casts objects of oidc-provider to other types. */
const CASTING_FILE = 'src/oidc/provider/library_types.ts';

interface SourceFile {
  /** The path from the repository's root: `src/db/connection.ts`. */
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
      rule: `src/clients/secret.ts imports '../accounts/password.ts': clients may import only base, db, audit, invalidation, vault, keys, password_hashing, lifecycle, log.`,
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
      rule: `src/oidc/several_lines.ts imports '../login/page.ts': oidc may import only base, db, http, audit, invalidation, vault, limits, resources, clients, accounts, keys, egress, outbox, trust, grant_policies, roles, lifecycle, log.`,
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
      rule: `src/utils/strings.ts: the folder utils is not in the table of test/project/layers.test.ts.`,
    },
    {
      path: 'src/app/node.ts',
      text: `import { createProvider } from '../oidc/provider/configuration.ts';`,
      rule: `src/app/node.ts imports '../oidc/provider/configuration.ts': other folders import src/oidc/oidc.ts alone.`,
    },
    {
      path: 'src/oidc/tokens/own_model.ts',
      text: `const { IdToken } = provider as unknown as Signers;`,
      rule: `src/oidc/tokens/own_model.ts has 'as unknown as': src/oidc/provider/library_types.ts alone casts objects of oidc-provider.`,
    },
    {
      path: 'src/oidc/storage/sessions.ts',
      text: `const session = Provider.ctx?.oidc.session as Saved | undefined;`,
      rule: `src/oidc/storage/sessions.ts has 'oidc.session as': src/oidc/provider/library_types.ts alone casts objects of oidc-provider.`,
    },
    {
      path: 'src/base/files.ts',
      text: `import { writeSync } from 'node:fs';`,
      rule: `src/base/files.ts imports 'node:fs': of modules base may import only node:async_hooks, node:crypto, node:url, node:util, lru-cache, zod.`,
    },
    {
      path: 'src/trust/fetching.ts',
      text: `import axios from 'axios/lib/axios.js';`,
      rule: `src/trust/fetching.ts imports 'axios/lib/axios.js': of modules trust may import only jose, zod.`,
    },
    {
      path: 'src/vault/scoped.ts',
      text: `const router = await import('@koa/router');`,
      rule: `src/vault/scoped.ts imports '@koa/router': of modules vault may import only node:crypto, node:fs/promises, node:path, kysely, lru-cache.`,
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
  const folder = folderOf(file.path);
  const allowed = MAY_IMPORT[folder]?.split(' ').filter(Boolean);
  if (!allowed) return [`${file.path}: the folder ${folder} is not in the table of test/project/layers.test.ts.`];
  const found = importsOf(file).flatMap((specifier) =>
    specifier.startsWith('.')
      ? violationsOfImport(file, specifier, allowed)
      : violationsOfModule(file, specifier, MODULES[folder]?.split(' ') ?? []),
  );
  if (basename(file.path) === 'index.ts') found.push(`${file.path}: no barrels; import from the file that has it.`);
  if (file.path !== 'src/config.ts' && readsEnvironment(file.text)) {
    found.push(`${file.path} reads process.env: only src/config.ts does.`);
  }
  const cast = folder === 'oidc' && file.path !== CASTING_FILE ? castOf(file.text) : undefined;
  if (cast !== undefined) {
    found.push(`${file.path} has '${cast}': src/oidc/provider/library_types.ts alone casts objects of oidc-provider.`);
  }
  return found;
}

function violationsOfImport(file: SourceFile, specifier: string, allowed: readonly string[]): string[] {
  const folder = folderOf(file.path);
  const statement = `${file.path} imports '${specifier}'`;
  if (!specifier.endsWith('.ts')) return [`${statement}: a relative import ends in .ts.`];
  const target = join(dirname(file.path), specifier);
  if (!target.startsWith('src/')) return [`${statement}: what src needs is in src.`];
  const targetFolder = folderOf(target);
  if (targetFolder === folder) return [];
  if (!allowed.includes(targetFolder)) return [`${statement}: ${folder} may import ${only(allowed)}.`];
  const publicFile = PUBLIC_FILES[targetFolder];
  return publicFile === undefined || publicFile === target
    ? []
    : [`${statement}: other folders import ${publicFile} alone.`];
}

function violationsOfModule(file: SourceFile, specifier: string, allowed: readonly string[]): string[] {
  // the check of `process.env` handles node:process
  if (specifier === 'node:process' || allowed.includes(moduleOf(specifier))) return [];
  return [`${file.path} imports '${specifier}': of modules ${folderOf(file.path)} may import ${only(allowed)}.`];
}

function only(allowed: readonly string[]): string {
  return allowed.length === 0 ? 'nothing' : `only ${allowed.join(', ')}`;
}

/** Returns the package of a specifier: `oidc-provider` for `oidc-provider/lib/x.js`, `@koa/router` for itself. */
function moduleOf(specifier: string): string {
  if (specifier.startsWith('node:')) return specifier;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function deepImports(files: readonly SourceFile[]): string[] {
  const reaching = files.filter((file) => importsOf(file).some((name) => name.startsWith('oidc-provider/lib')));
  if (reaching.length <= 1) return [];
  const paths = reaching.map((file) => file.path).join(', ');
  return [`${paths} import from oidc-provider/lib: keep what is outside semver in one file.`];
}

/** Returns the folder of a file: `db` for `src/db/connection.ts`, `config` for `src/config.ts`. */
function folderOf(path: string): string {
  return (path.split('/')[1] ?? '').replace(/\.ts$/, '');
}

/** Returns the specifiers after `from`, `import` and `import(`. TypeScript 7 has no parser for this. */
function importsOf({ text }: SourceFile): string[] {
  const statements = text.matchAll(
    /^\s*(?:import|export|\})[^'"`;]*?\bfrom\s*(['"])(.+?)\1|^\s*import\s*(['"])(.+?)\3/gm,
  );
  const calls = text.matchAll(/\bimport\s*\(\s*(['"`])(.+?)\1/g);
  return [...[...statements].map((match) => match[2] ?? match[4] ?? ''), ...[...calls].map((match) => match[2] ?? '')];
}

/**
 * Returns a cast of an object of the library, if the text has one: a cast through `unknown`, which the compiler
 * requires between two types with too little in common, or a cast of a context or a session. Other casts (of rows,
 * payloads and parsed JSON) do not concern the library.
 */
function castOf(text: string): string | undefined {
  return /\bas unknown as\b|\bas (?:Partial<)?KoaContextWithOIDC\b|\boidc\??\.session as\b/.exec(text)?.[0];
}

function readsEnvironment(text: string): boolean {
  return /\bprocess\s*(\?\.|\.)\s*env\b|\bprocess\s*\[|['"]node:process['"]|\}\s*=\s*process\b/.test(text);
}

function sourceFiles(): SourceFile[] {
  const root = join(import.meta.dirname, '../..');
  return globSync(join(root, 'src/**/*.ts'))
    .toSorted()
    .map((path) => ({ path: relative(root, path), text: readFileSync(path, 'utf8') }));
}
