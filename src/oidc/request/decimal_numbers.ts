/** Numbers in parameters of requests, which the library reads with `Number`: it takes `1e2`, `0x10` and ` 5` for numbers. */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';

const NUMBERS = ['max_age', 'requested_expiry'] as const;

/** Refuses what is not written in decimal digits. In a request object a JSON number is one too. */
export function demandDecimalNumbers({ oidc: { params = {} } }: KoaContextWithOIDC): void {
  for (const name of NUMBERS) {
    const value = params[name];
    if (typeof value !== 'string' || /^\d+$/.test(value)) continue;
    throw new errors.InvalidRequest(`${name} must be a whole number in decimal digits`);
  }
}
