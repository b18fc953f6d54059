/** Whether authorization details ask for no more than others grant (RFC 9396, 6.1). */
import { isDeepStrictEqual } from 'node:util';
import type { AuthorizationDetail } from 'oidc-provider';

/** Common members that each list what is allowed: fewer entries allow less (2.2). */
const LISTS = ['locations', 'actions', 'datatypes', 'privileges'] as const;

/** Whether each detail is within one of its own: a payment that was allowed once can't be had twice in one token. */
export function areWithin(asked: readonly AuthorizationDetail[], granted: readonly AuthorizationDetail[]): boolean {
  const takenBy = new Map<AuthorizationDetail, AuthorizationDetail>();
  // where the only one that fits is taken, whoever took it may find another
  const place = (detail: AuthorizationDetail, tried: Set<AuthorizationDetail>): boolean =>
    granted.some((whole) => {
      if (tried.has(whole) || !isWithin(detail, whole)) return false;
      tried.add(whole);
      const before = takenBy.get(whole);
      if (before && !place(before, tried)) return false;
      takenBy.set(whole, detail);
      return true;
    });
  return asked.every((detail) => place(detail, new Set()));
}

/**
 * The same, member by member, but for the lists, which may be shorter. One that the grant doesn't have can't be added,
 * except `locations`: left out it means every resource of the type, so naming some is less.
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
