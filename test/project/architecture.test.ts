import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { recordRoutes } from '../support/node/registered_routes.ts';

const ROOT = join(import.meta.dirname, '../..');
const ADMIN_PREFIX = '/admin/v1';
/** Middleware answers these paths without a router. The status must not be 404. */
const WITHOUT_ROUTER: Readonly<Record<string, string>> = {
  '/jwks/ml-dsa': 'GET',
  '/register': 'POST',
  '/register/{client_id}': 'GET',
  '/.well-known/oauth-protected-resource/userinfo': 'GET',
  '/.well-known/oauth-protected-resource/admin/v1': 'GET',
};
/** The management listener answers these paths without a router. */
const MANAGEMENT = ['/healthz', '/readyz', '/metrics'];

interface Row {
  readonly path: string;
  readonly file: string;
}

/** Compares the table of URLs in docs/architecture.md with the routes that a node registers at its start. */
describe('docs/architecture.md', () => {
  const document = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8');
  const rows = rowsOf(document);
  let gatehouse: Gatehouse;
  let registered: ReadonlySet<string>;

  before(async () => {
    const recorded = await recordRoutes();
    gatehouse = await startGatehouse({ environment: { NODE_ENV: 'development' } });
    registered = new Set(recorded.stop().map(({ path }) => path));
  });
  after(() => gatehouse.stop());

  it('has a row for each folder and file at the top of src', () => {
    const names = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).map((entry) =>
      entry.isDirectory() ? `${entry.name}/` : entry.name,
    );
    assert.deepEqual(
      names.filter((name) => !document.includes(`\`${name}\``)),
      [],
    );
  });

  it('names each path once, with a file that exists', () => {
    const paths = rows.map(({ path }) => path);
    assert.deepEqual(
      paths.filter((path, index) => paths.indexOf(path) !== index),
      [],
    );
    assert.deepEqual(
      rows.filter(({ file }) => !existsSync(join(ROOT, file))),
      [],
    );
  });

  it('has a row for each route that a node registers', () => {
    assert.ok(registered.size > 60, `only ${registered.size} routes were recorded`);
    const named = new Set(rows.map(({ path }) => path));
    assert.deepEqual(
      [...registered].filter((path) => !named.has(path)),
      [],
    );
  });

  it('has no row for a path that no node registers', () => {
    const known = new Set([...registered, ...Object.keys(WITHOUT_ROUTER), ...MANAGEMENT]);
    assert.deepEqual(
      rows.filter(({ path }) => !known.has(path)),
      [],
    );
  });

  it('names, for each path of the admin API, the file that declares it', () => {
    const admin = rows.filter(({ path }) => path.startsWith(`${ADMIN_PREFIX}/`));
    assert.ok(admin.length >= 40, `only ${admin.length} paths`);
    const collectionOf = (path: string): string => path.slice(ADMIN_PREFIX.length).split('/')[1]!;
    assert.deepEqual(
      admin.filter(({ path, file }) => !readFileSync(join(ROOT, file), 'utf8').includes(`'/${collectionOf(path)}`)),
      [],
    );
  });

  for (const [path, method] of Object.entries(WITHOUT_ROUTER)) {
    it(`names ${path}, which a node answers`, async () => {
      assert.ok(rows.some((row) => row.path === path));
      const response = await fetch(gatehouse.url + path.replace('{client_id}', 'unknown'), { method });
      assert.notEqual(response.status, 404);
    });
  }

  for (const path of MANAGEMENT) {
    it(`names ${path}, which the management listener answers`, async () => {
      assert.ok(rows.some((row) => row.path === path));
      const response = await fetch(gatehouse.managementUrl + path);
      assert.equal(response.status, 200);
    });
  }
});

/** Returns the rows below the heading "URLs": the first column has one or several paths, the second has the file. */
function rowsOf(document: string): Row[] {
  const [, table = ''] = document.split(/^## URLs$/m);
  return table
    .split(/^## /m)[0]!
    .split('\n')
    .flatMap((line) => {
      const [, paths = '', cell = ''] = line.split('|');
      const file = /`([^`]+)`/.exec(cell)?.[1];
      if (file === undefined) return [];
      return [...paths.matchAll(/`([^`]+)`/g)].map(([, path]) => ({ path: path!, file }));
    });
}
