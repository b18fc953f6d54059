/**
 * Which test files run together in one process. To load Gatehouse and to compile what is called often takes more time
 * than the tests of most files, so files of a folder share it. They run one after another.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Folders whose tests have their nodes in their own process, and leave nothing of them behind. */
const SHARED = `account_links accounts admin audit authorization base ciba client_authentication clients config
  conformance device discovery factors grants http keys login logout mail outbox passwords rate_limits registration
  resources roles tokens vault`.split(/\s+/);
/** Files of these folders that measure or change their process, have many processes of their own, or take long. */
const ALONE = [
  'accounts/password_hashing',
  'audit/append_only',
  'audit/crash',
  'audit/repeated_refusals_flood',
  'audit/tampering',
  'ciba/races',
  'client_authentication/cost_of_strangers',
  'client_authentication/server_requirements',
  'conformance/fuzz',
  'conformance/mcp_sdks',
  'conformance/members_of_other_types',
  'conformance/standards',
  'discovery/protected_resource_metadata',
  'http/connections_that_live_on',
  'http/host_header',
  'http/hostile_senders',
  'login/front_page',
  'outbox/two_nodes',
  'rate_limits/requests',
  'registration/registration_flood',
  'tokens/both_paths_compared',
  'tokens/races',
].map((name) => `test/${name}.test.ts`);
const FILES_AT_MOST = 6;

/** The files of each process. Those of processes of their own mostly wait, so they are spread among the others. */
export function filesOfProcesses(files: readonly string[], root: string): string[][] {
  const renamed = ALONE.filter((file) => !existsSync(join(root, file)));
  if (renamed.length > 0) throw new Error(`scripts/test_processes.ts names missing files: ${renamed.join(', ')}.`);
  const isShared = (file: string): boolean => SHARED.includes(basename(dirname(file))) && !ALONE.includes(file);
  const alone = files.filter((file) => !isShared(file)).map((file) => [file]);
  const folders = Map.groupBy(files.filter(isShared), dirname);
  const together = [...folders.values()].flatMap((ofFolder) => inParts(ofFolder));
  const placed = [alone, together].flatMap((list) =>
    list.map((ofProcess, index) => ({ ofProcess, place: (index + 0.5) / list.length })),
  );
  return placed.toSorted((a, b) => a.place - b.place).map(({ ofProcess }) => ofProcess);
}

/** Parts of nearly the same size. */
function inParts(files: readonly string[]): string[][] {
  const count = Math.ceil(files.length / FILES_AT_MOST);
  return Array.from({ length: count }, (_, part) =>
    files.slice(Math.round((part * files.length) / count), Math.round(((part + 1) * files.length) / count)),
  );
}

/**
 * Writes a module for each process, which imports its files, and returns the modules. Their names keep the order, as
 * `node --test` sorts them. The same files always give the same modules, so runs at the same time do not meet.
 */
export function writeModules(processes: readonly (readonly string[])[], root: string): string[] {
  const hash = createHash('sha256').update(JSON.stringify(processes)).digest('hex').slice(0, 12);
  const folder = join(root, 'node_modules/.tests', hash);
  mkdirSync(folder, { recursive: true });
  return processes.map((files, index) => {
    const [first] = files;
    const name = files.length > 1 ? basename(dirname(first!)) : basename(first!, '.test.ts');
    const module = join(folder, `${String(index + 1).padStart(3, '0')}_${name}.mjs`);
    const imports = files.map((file) => `import ${JSON.stringify(pathToFileURL(resolve(root, file)).href)};\n`);
    writeFileSync(module, imports.join(''));
    return module;
  });
}
