/**
 * Entity tags (RFC 9110, 8.8.3) made from a row's version, so that a caller can refuse to overwrite the changes of
 * another one.
 */
import { sha256 } from '../base/secret.ts';
import { invalid, Refused } from '../base/refusal.ts';

/** Matches the tags of this server; If-Match compares only the version. */
const TAG = /^"(\d{1,10})(?:-[0-9a-f]{8})?"$/;

/**
 * Returns `"<version>"`, or `"<version>-<digest>"` if a part of the reply (`extra`) can change without its row. A
 * cached copy is then stale for If-None-Match, while If-Match still compares only the version.
 */
export function entityTag(version: number, extra?: unknown): string {
  const digest = extra === undefined ? '' : `-${sha256(JSON.stringify(extra)).toString('hex').slice(0, 8)}`;
  return `"${version}${digest}"`;
}

/** Throws if If-Match does not include this version. Without the header the last write wins. */
export function refuseOtherVersion(ifMatch: string, version: number): void {
  if (ifMatch === '' || ifMatch.trim() === '*') return;
  const tags = splitTags(ifMatch, 'If-Match');
  if (tags.some((tag) => TAG.exec(tag)?.[1] === String(version))) return;
  throw new Refused({
    reason: 'precondition_failed',
    detail: 'The object has changed since you read it; read it again and repeat your change.',
  });
}

/** Whether If-None-Match includes this tag. */
export function matchesAny(ifNoneMatch: string, tag: string): boolean {
  if (ifNoneMatch === '') return false;
  if (ifNoneMatch.trim() === '*') return true;
  return splitTags(ifNoneMatch, 'If-None-Match').some((known) => known.replace(/^W\//, '') === tag);
}

function splitTags(header: string, name: string): string[] {
  const tags = header.split(',').map((tag) => tag.trim());
  if (tags.every((tag) => /^(W\/)?"[\x21\x23-\x7e]*"$/.test(tag))) return tags;
  throw invalid(name, 'must be * or a list of entity tags, each in double quotes');
}
