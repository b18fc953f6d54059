/** Encodes the library's payloads as JSON that PostgreSQL can store. */
import { errors } from 'oidc-provider';
import { json, Unstorable } from '../../db/connection.ts';

/** Throws `invalid_request` if a parameter can't be stored (for example, a nonce with a NUL character). */
export function payloadJson(payload: object): string {
  try {
    return json(payload);
  } catch (error) {
    if (error instanceof Unstorable)
      throw new errors.InvalidRequest('a parameter contains characters that are not permitted');
    throw error;
  }
}
