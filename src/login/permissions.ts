/**
 * Describes the permissions of an application. Scopes without a description appear with their name, so none is hidden.
 */
import type { ConsentedScopes } from '../accounts/consents.ts';
import type { Permissions } from './pages.ts';
import type { LoginContext } from './login_context.ts';
import { describeClaim } from './messages.ts';

export function describePermissions(
  { describeScopes }: Pick<LoginContext, 'describeScopes'>,
  scopes: ConsentedScopes,
): Permissions[] {
  const { openid, claims, resources } = scopes;
  const described = describeScopes({ openid, resources }).filter((api) => api.scopes.length > 0);
  const known = new Set(described.flatMap((api) => api.scopes.map(({ name }) => name)));
  const unknown = [...openid, ...Object.values(resources).flat()].filter((name) => !known.has(name));
  return [
    ...described,
    ...group('Details about you', claims, describeClaim),
    ...group('Other permissions', unknown, (name) => `Use the permission ‘${name}’`),
  ];
}

function group(api: string, names: readonly string[], describe: (name: string) => string): Permissions[] {
  return names.length === 0 ? [] : [{ api, scopes: names.map((name) => ({ name, description: describe(name) })) }];
}
