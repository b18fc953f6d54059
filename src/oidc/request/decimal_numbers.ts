/**
 * Validates numeric request parameters. The library parses them with `Number`, which also accepts `1e2`, `0x10` and `
 * 5`.
 */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';

const NUMBERS = ['max_age', 'requested_expiry'] as const;

/**
 * Throws `invalid_request` if a numeric parameter is not a string of decimal digits; a JSON number in a request object
 * is accepted.
 */
export function demandDecimalNumbers({ oidc: { params = {} } }: KoaContextWithOIDC): void {
  for (const name of NUMBERS) {
    const value = params[name];
    if (typeof value !== 'string' || /^\d+$/.test(value)) continue;
    throw new errors.InvalidRequest(`${name} must be a whole number in decimal digits`);
  }
}
