/** Where development keeps its master key. Production is given one and never comes here. */
import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CannotStart } from '../base/cannot_start.ts';
import { MasterKey } from './master_key.ts';

/** The key in the file; made at its first use, readable by this user alone. */
export async function masterKeyFromFile(path: string): Promise<MasterKey> {
  const text = await readOrCreate(path);
  const bytes = Buffer.from(text.trim(), 'base64');
  if (bytes.length !== 32)
    throw new CannotStart(
      `${path} does not hold a master key of 32 bytes in base64. Put the right one back, or set GATEHOUSE_MASTER_KEY.`,
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
      `The master key is kept in ${path}, which can't be used: ${(error as Error).message}. Mend that, or set GATEHOUSE_MASTER_KEY.`,
      { cause: error },
    );
  }
}

/** Written whole beside its place and then put there, so that a start that is killed half-way leaves no half a key. */
async function create(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // a name that nobody can have taken before us, with a file of theirs or a link to one
  const fresh = `${path}.${randomBytes(8).toString('hex')}`;
  await writeFile(fresh, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
  await link(fresh, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  await rm(fresh);
  return readFile(path, 'utf8');
}
