/** Builds clients of others from the Go module proxy and PyPI, in a folder below the temporary one that later runs use again. */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const CLIENTS = join(import.meta.dirname, '../../outside/clients');
const PYTHON_CHECK = 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))';

/** Why tests with Go are skipped, if they are. */
export const WITHOUT_GO = runs('go', ['version']) ? false : 'Go is not installed';
/** Why tests with Python are skipped, if they are. */
export const WITHOUT_PYTHON = runs('python3', ['-c', PYTHON_CHECK])
  ? false
  : 'Python 3.10 or later with venv and ensurepip is not installed';

/** A program of the module in this folder, or one that the module depends on; with the versions of `modFile`. */
export async function goProgram(module: string, { modFile = 'go.mod', program = '.' } = {}): Promise<string> {
  const path = join(await folder(), `${module}-${modFile}`);
  // -p=1: the machine has other work to do
  const options = ['-p=1', '-trimpath', '-mod=readonly', `-modfile=${modFile}`];
  await run('go', ['build', ...options, '-o', path, program], { cwd: join(CLIENTS, module) });
  return path;
}

/** The command for an application that is written in Python, with the packages of this file and no others. */
export async function pythonApp(app: string, requirementsFile = 'requirements.txt'): Promise<string[]> {
  const requirements = join(CLIENTS, 'python', requirementsFile);
  const digest = createHash('sha256').update(await readFile(requirements));
  const environment = join(await folder(), `python-${digest.digest('hex').slice(0, 16)}`);
  if (!existsSync(environment)) await makeEnvironment(environment, requirements);
  return [join(environment, 'bin/python'), join(CLIENTS, 'python', app)];
}

async function makeEnvironment(environment: string, requirements: string): Promise<void> {
  const made = await mkdtemp(`${environment}-`);
  await run('python3', ['-m', 'venv', made]);
  const options = ['--quiet', '--require-hashes', '--no-deps', '--only-binary=:all:'];
  await run(join(made, 'bin/python'), ['-m', 'pip', 'install', ...options, '-r', requirements]);
  // another run may have been faster
  await rename(made, environment).catch(() => rm(made, { recursive: true }));
}

/** What lies there is run, so it must be this user's alone. */
async function folder(): Promise<string> {
  const uid = process.getuid?.() ?? 0;
  const path = join(process.env.TEST_LASTING_FOLDER ?? tmpdir(), `gatehouse-outside-${uid}`);
  await mkdir(path, { recursive: true });
  if ((await stat(path)).uid !== uid) throw new Error(`${path} belongs to another user.`);
  await chmod(path, 0o700);
  return path;
}

function runs(command: string, options: readonly string[]): boolean {
  return spawnSync(command, options, { stdio: 'ignore' }).status === 0;
}
