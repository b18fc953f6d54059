/**
 * How strongly somebody has logged in, as applications and APIs name it (`acr`), and what it follows from: the methods
 * that were used (`amr`, RFC 8176). A context is named by an absolute URI (OpenID Connect Core, 2).
 */

interface AuthenticationContext {
  readonly acr: string;
  /** The methods that it takes, all of them. */
  readonly methods: readonly string[];
}

/** The weakest first. A further factor adds a line here: discovery, consent to requests and tokens follow. */
const CONTEXTS: readonly AuthenticationContext[] = [{ acr: 'urn:gatehouse:acr:password', methods: ['pwd'] }];

export const ACR_VALUES: readonly string[] = CONTEXTS.map(({ acr }) => acr);

/** The strongest context that these methods make, if they make one. */
export function acrOf(amr: readonly string[]): string | undefined {
  return CONTEXTS.findLast(({ methods }) => methods.every((method) => amr.includes(method)))?.acr;
}
