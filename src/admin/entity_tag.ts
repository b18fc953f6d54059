/** Entity tags (RFC 9110, 8.8.3): a row's version, so that a change can demand that nobody else came first. */
import { sha256 } from '../base/secret.ts';
import { invalid, Refused } from '../base/refusal.ts';

/** Matches what this server makes; all that an If-Match compares is the version. */
const TAG = /^"(\d{1,10})(?:-[0-9a-f]{8})?"$/;

/**
 * `"<version>"`, or `"<version>-<digest>"` where a part of the reply changes without its row: a reader's copy must count
 * as old then, while a writer who demands the version has lost nothing.
 */
export function entityTag(version: number, besides?: unknown): string {
  const digest = besides === undefined ? '' : `-${sha256(JSON.stringify(besides)).toString('hex').slice(0, 8)}`;
  return `"${version}${digest}"`;
}

/** Throws when the header names other versions. Without the header the last writer wins. */
export function refuseOtherVersion(ifMatch: string, version: number): void {
  if (ifMatch === '' || ifMatch.trim() === '*') return;
  const tags = splitTags(ifMatch, 'If-Match');
  if (tags.some((tag) => TAG.exec(tag)?.[1] === String(version))) return;
  throw new Refused({
    reason: 'precondition_failed',
    detail: 'It has changed since you read it; read it again and apply your change to that.',
  });
}

/** Whether the caller holds this very reply already. */
export function isKnown(ifNoneMatch: string, tag: string): boolean {
  if (ifNoneMatch === '') return false;
  if (ifNoneMatch.trim() === '*') return true;
  return splitTags(ifNoneMatch, 'If-None-Match').some((known) => known.replace(/^W\//, '') === tag);
}

function splitTags(header: string, name: string): string[] {
  const tags = header.split(',').map((tag) => tag.trim());
  if (tags.every((tag) => /^(W\/)?"[\x21\x23-\x7e]*"$/.test(tag))) return tags;
  throw invalid(name, 'must be * or a list of entity tags such as "3"');
}
