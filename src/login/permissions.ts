/**
 * Describes the permissions of an application. Scopes without a description appear with their name, so none is hidden.
 */
import type { ConsentedScopes } from '../accounts/consents.ts';
import { claimOfEntry } from '../accounts/data_for_apis.ts';
import type { Permissions } from './pages.ts';
import type { LoginContext } from './login_context.ts';
import { describeClaim } from './messages.ts';

export function describePermissions(
  { describeScopes }: Pick<LoginContext, 'describeScopes'>,
  { openid, claims, resources: byResource }: ConsentedScopes,
): Permissions[] {
  const resources = mapValues(byResource, (entries) => entries.filter((entry) => claimOfEntry(entry) === undefined));
  const single = mapValues(byResource, (entries) => entries.map(claimOfEntry).filter((claim) => claim !== undefined));
  const described = describeScopes({ openid, resources }).filter((api) => api.scopes.length > 0);
  const known = new Set(described.flatMap((api) => api.scopes.map(({ name }) => name)));
  const unknown = [...openid, ...Object.values(resources).flat()].filter((name) => !known.has(name));
  return [
    ...described,
    ...group('Details about you', claims, describeClaim),
    ...Object.entries(single).flatMap(([api, its]) =>
      group(
        `Details about you, for ${api}`,
        its,
        (claim) => `Let ${api} ${describeClaim(claim).replace(/^See/, 'see')} too`,
      ),
    ),
    ...group('Other permissions', unknown, (name) => `Use the permission ‘${name}’`),
  ];
}

function group(api: string, names: readonly string[], describe: (name: string) => string): Permissions[] {
  return names.length === 0 ? [] : [{ api, scopes: names.map((name) => ({ name, description: describe(name) })) }];
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, change: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
}
