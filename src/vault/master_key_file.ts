/** The file that holds the master key in development. Production reads the key from its configuration. */
import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CannotStart } from '../base/cannot_start.ts';
import { MasterKey } from './master_key.ts';

/**
 * Reads the key from the file. The first use creates the file, readable only by this user. Throws `CannotStart` if the
 * file can't be used.
 */
export async function masterKeyFromFile(path: string): Promise<MasterKey> {
  const text = await readOrCreate(path);
  const bytes = Buffer.from(text.trim(), 'base64');
  if (bytes.length !== 32)
    throw new CannotStart(
      `${path} does not hold a master key of 32 bytes in base64. Restore the right key, or set GATEHOUSE_MASTER_KEY.`,
    );
  return new MasterKey(bytes);
}

async function readOrCreate(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return create(path);
    });
  } catch (error) {
    throw new CannotStart(
      `The file of the master key, ${path}, can't be used: ${(error as Error).message}. Correct that, or set GATEHOUSE_MASTER_KEY.`,
      { cause: error },
    );
  }
}

/**
 * Writes a complete file under another name, then links it, so that a start that is killed leaves no incomplete key.
 */
async function create(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // a random name, so that another user can't have put a file or a link there
  const fresh = `${path}.${randomBytes(8).toString('hex')}`;
  await writeFile(fresh, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
  await link(fresh, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  await rm(fresh);
  return readFile(path, 'utf8');
}
