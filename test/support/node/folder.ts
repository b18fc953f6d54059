/** Folders that a process of ours was working in. */
import { rm } from 'node:fs/promises';

/** Removes it with all that is in it; a Postgres that was told to go may still be clearing up in there. */
export function removeFolder(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
