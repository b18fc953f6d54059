/** Programs of others that npm doesn't have. They are fetched once, into a folder below node_modules. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const FOLDER = join(import.meta.dirname, '../../../node_modules/.outside');
const CADDY_VERSION = 'v2.11.9';

/** Why tests with packages of Debian are skipped, if they are. */
export const WITHOUT_APT = existsSync('/usr/bin/apt-get') ? false : 'apt-get is not installed';

/** A command, and what it needs in its environment. */
export interface OutsideProgram {
  readonly path: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Caddy, built from Go's module proxy. */
export async function caddy(): Promise<OutsideProgram> {
  const folder = join(FOLDER, `caddy-${CADDY_VERSION}`);
  const path = join(folder, 'caddy');
  if (!existsSync(path)) {
    const module = `github.com/caddyserver/caddy/v2/cmd/caddy@${CADDY_VERSION}`;
    await run('go', ['install', module], { env: { ...process.env, GOBIN: folder, GOFLAGS: '-p=1' } });
  }
  return { path, environment: {} };
}

/** A program of Debian's packages, which are unpacked and not installed. */
export async function debian(program: string, packages: readonly string[]): Promise<OutsideProgram> {
  const folder = join(FOLDER, program);
  if (!existsSync(folder)) {
    await mkdir(FOLDER, { recursive: true });
    const made = await mkdtemp(join(FOLDER, 'unpacking-'));
    await run('apt-get', ['download', ...packages], { cwd: made });
    for (const file of await readdir(made)) {
      await run('dpkg', ['-x', join(made, file), made]);
      await rm(join(made, file));
    }
    await rename(made, folder);
  }
  const paths = ['usr/sbin', 'usr/bin'].map((place) => join(folder, place, program));
  return {
    path: paths.find(existsSync) ?? paths[0]!,
    environment: { LD_LIBRARY_PATH: join(folder, 'usr/lib', `${machine()}-linux-gnu`) },
  };
}

function machine(): string {
  return process.arch === 'arm64' ? 'aarch64' : 'x86_64';
}
