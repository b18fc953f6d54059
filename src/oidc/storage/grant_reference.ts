import { sha256 } from '../../base/secret.ts';

/** How tokens name the grant they came from (`gid`): of no use to anyone who reads it. */
export function grantReference(grantId: string): string {
  return sha256(grantId).toString('base64url');
}
