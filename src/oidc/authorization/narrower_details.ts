/** Compares requested authorization details with granted ones (RFC 9396, 6.1). */
import { isDeepStrictEqual } from 'node:util';
import type { AuthorizationDetail } from 'oidc-provider';

/** Common members whose arrays list what is permitted: fewer elements permit less (2.2). */
const LISTS = ['locations', 'actions', 'datatypes', 'privileges'] as const;

/**
 * True if each requested detail fits within a different granted one, so that a token can't contain a payment twice that
 * was granted once.
 */
export function areWithin(asked: readonly AuthorizationDetail[], granted: readonly AuthorizationDetail[]): boolean {
  const matches = new Map<AuthorizationDetail, AuthorizationDetail>();
  // if the only match is taken, the detail that took it may have another match (bipartite matching)
  const match = (detail: AuthorizationDetail, tried: Set<AuthorizationDetail>): boolean =>
    granted.some((whole) => {
      if (tried.has(whole) || !isWithin(detail, whole)) return false;
      tried.add(whole);
      const before = matches.get(whole);
      if (before && !match(before, tried)) return false;
      matches.set(whole, detail);
      return true;
    });
  return asked.every((detail) => match(detail, new Set()));
}

/**
 * True if all members are equal, except that the lists may be shorter. The request can't add a list that the grant
 * doesn't have, except `locations`: a missing one means every resource of the type, so naming some permits less.
 */
function isWithin(asked: AuthorizationDetail, granted: AuthorizationDetail): boolean {
  const names = new Set([...Object.keys(asked), ...Object.keys(granted)]);
  return [...names].every((name) => {
    if (!isList(name)) return isDeepStrictEqual(asked[name], granted[name]);
    const [some, all] = [asked[name], granted[name]] as (readonly string[] | undefined)[];
    if (!all) return name === 'locations' || some === undefined;
    return some !== undefined && some.length > 0 && some.every((entry) => all.includes(entry));
  });
}

function isList(name: string): name is (typeof LISTS)[number] {
  return (LISTS as readonly string[]).includes(name);
}
