/**
 * Reads secrets from files, as Docker and Kubernetes provide them: each secret setting `<NAME>` also has `<NAME>_FILE`.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { Complaint, Variables } from './cross_checks.ts';

/** Marks a setting as a secret (`.meta(SECRET)`), so that it can be given as a file and loses a line end. */
export const SECRET = { secret: true } as const;

const SECRET_BYTES_AT_MOST = 65_536;

export interface WithSecrets {
  readonly given: Variables;
  readonly complaints: readonly Complaint[];
}

/**
 * Replaces each `<NAME>_FILE` with the content of its file, and removes one line end from each secret: `kubectl create
 * secret --from-file` and most editors leave one. No message quotes a path, because the path may be the secret in the
 * wrong variable.
 */
export function readSecretFiles(variables: Variables, secrets: readonly string[]): WithSecrets {
  const given: Record<string, string | undefined> = { ...variables };
  const complaints: Complaint[] = [];
  for (const name of secrets) {
    const twin = `${name}_FILE`;
    const path = given[twin];
    delete given[twin];
    if (path !== undefined && given[name] !== undefined) {
      complaints.push([twin, `must not be set together with ${name}; keep one of them.`]);
    } else if (path !== undefined) {
      try {
        given[name] = withoutLineEnd(readBounded(path));
        if (given[name] === '') complaints.push([twin, 'names a file that is empty.']);
      } catch (error) {
        complaints.push([twin, `names a file that ${reason(error)}.`]);
      }
    } else if (given[name] !== undefined) {
      given[name] = withoutLineEnd(given[name]);
    }
  }
  return { given, complaints };
}

function withoutLineEnd(text: string): string {
  return text.replace(/\r?\n$/, '');
}

class TooLarge extends Error {}
class NotRegular extends Error {}

/** A pipe or a device could keep the process waiting for ever, and deaf to signals. */
function readBounded(path: string): string {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const kind = fstatSync(file);
    if (!kind.isFile() && !kind.isDirectory()) throw new NotRegular();
    const bytes = Buffer.alloc(SECRET_BYTES_AT_MOST + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(file, bytes, length, bytes.length - length, null);
    }
    if (length > SECRET_BYTES_AT_MOST) throw new TooLarge();
    return bytes.toString('utf8', 0, length);
  } finally {
    closeSync(file);
  }
}

function reason(error: unknown): string {
  if (error instanceof TooLarge) return `is larger than ${SECRET_BYTES_AT_MOST} bytes`;
  if (error instanceof NotRegular) return 'is not a regular file';
  const { code = 'unknown error' } = error as NodeJS.ErrnoException;
  const known: Readonly<Record<string, string>> = {
    ENOENT: 'does not exist',
    ENOTDIR: 'does not exist',
    EACCES: 'this user may not read',
    EISDIR: 'is a folder',
  };
  return known[code] ?? `can't be read (${code})`;
}
