/**
 * Authentication contexts (`acr`): how strong a login was, derived from its methods (`amr`, RFC 8176). Each context has
 * an absolute URI as its name (OpenID Connect Core, 2).
 */

interface AuthenticationContext {
  readonly acr: string;
  /** The methods that the context requires, all of them. */
  readonly methods: readonly string[];
}

/**
 * Weakest first. To support another factor, add a line here; discovery, request validation and tokens use this list.
 */
const CONTEXTS: readonly AuthenticationContext[] = [{ acr: 'urn:gatehouse:acr:password', methods: ['pwd'] }];

export const ACR_VALUES: readonly string[] = CONTEXTS.map(({ acr }) => acr);

/** Returns the strongest context for these methods, if any. */
export function acrOf(amr: readonly string[]): string | undefined {
  return CONTEXTS.findLast(({ methods }) => methods.every((method) => amr.includes(method)))?.acr;
}
