/** What the library wants stored, as the JSON that Postgres takes. */
import { errors } from 'oidc-provider';
import { json, Unstorable } from '../../db/connection.ts';

/** A parameter that can't be stored (a nonce with a NUL, say) is the caller's mistake. */
export function payloadJson(payload: object): string {
  try {
    return json(payload);
  } catch (error) {
    if (error instanceof Unstorable)
      throw new errors.InvalidRequest('a parameter contains characters that are not allowed');
    throw error;
  }
}
