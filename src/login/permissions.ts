/**
 * Puts the permissions of an application into words. Scopes without a description appear with their name, so none is
 * hidden.
 */
import type { Account } from '../accounts/account.ts';
import type { ConsentedScopes } from '../accounts/consents.ts';
import { claimOfEntry } from '../accounts/data_for_apis.ts';
import type { Permission, Permissions } from './pages.ts';
import type { DescribedApi, DescribedScope, LoginContext } from './login_context.ts';
import { describeClaim } from './messages.ts';
import { fill, TEXTS } from './texts/texts.ts';

/** `account` is the person who reads the page; the page shows which of their details each scope reveals. */
export function describePermissions(
  { describeScopes, issuer }: Pick<LoginContext, 'describeScopes' | 'issuer'>,
  scopes: ConsentedScopes,
  account?: Account,
): Permissions[] {
  const { openid, claims, resources } = scopes;
  const texts = TEXTS.permissions;
  const { host } = new URL(issuer);
  const described = describeScopes({ openid, resources }).map((api) => wordApi(api, host, account));
  const known = new Set(described.flatMap((api) => api.scopes.map(({ name }) => name)));
  const names = [...openid, ...Object.values(resources).flat()].filter((name) => claimOfEntry(name) === undefined);
  const unknown = names.filter((name) => !known.has(name));
  return [
    ...described,
    { api: texts.details, scopes: claims.map(wordClaim) },
    {
      api: texts.others,
      scopes: unknown.map((name) => ({
        name,
        description: fill(texts.otherScope, { scope: name }),
        access: 'write' as const,
        icon: 'pen-line',
      })),
    },
  ].filter((api) => api.scopes.length > 0);
}

function wordApi(api: DescribedApi, host: string, account: Account | undefined): Permissions {
  const texts = TEXTS.permissions;
  if (api.kind === 'api') return { api: api.name, scopes: api.scopes.map(wordScope) };
  if (api.kind === 'claims') {
    return { api: fill(texts.detailsForApi, { api: api.api }), scopes: forApi(api.api, api.claims.map(wordClaim)) };
  }
  const scopes = api.scopes.map((name) => wordOpenidScope(name, account));
  if (api.api === undefined) return { api: fill(texts.account, { host }), scopes };
  return { api: fill(texts.accountForApi, { host, api: api.api }), scopes: forApi(api.api, scopes) };
}

/** The same permissions, given to an API beside the application. */
function forApi(api: string, permissions: readonly Permission[]): Permission[] {
  return permissions.map((permission) => ({
    ...permission,
    description: fill(TEXTS.permissions.letApi, { api, action: permission.description.replace(/^See/, 'see') }),
  }));
}

function wordClaim(name: string): Permission {
  return { name, description: describeClaim(name), access: 'read', icon: 'id-card' };
}

function wordScope({ name, description, details, access, isAccessStated }: DescribedScope): Permission {
  const { withoutAsking, looksOnly } = TEXTS.permissions;
  const means = access === 'write' ? withoutAsking : isAccessStated ? looksOnly : undefined;
  return { name, description, means: details ?? means, access, icon: access === 'write' ? 'pen-line' : 'file-text' };
}

const ICONS: Readonly<Record<string, string>> = {
  openid: 'id-card',
  profile: 'user-round',
  email: 'mail',
  address: 'map-pin',
  phone: 'phone',
  offline_access: 'refresh-cw',
};

function wordOpenidScope(name: string, account: Account | undefined): Permission {
  const { scopes } = TEXTS.permissions;
  const words = Object.hasOwn(scopes, name) ? scopes[name as keyof typeof scopes] : undefined;
  return {
    name,
    description: words?.does ?? name,
    means: words?.means || (account && detailsOf(account, name)),
    access: name === 'offline_access' ? undefined : 'read',
    icon: ICONS[name] ?? 'id-card',
  };
}

/** Returns what the scope reveals of this account. */
function detailsOf({ email, name, profile }: Account, scope: string): string | undefined {
  const { formatted, street_address, locality, country } = profile.address ?? {};
  const values: Readonly<Record<string, string | null | undefined>> = {
    profile: fill(TEXTS.permissions.profileDetails, {
      name: name ?? profile.preferred_username ?? profile.nickname ?? TEXTS.permissions.noName,
    }),
    email,
    phone: profile.phone_number ?? TEXTS.permissions.notStored,
    address:
      formatted ??
      ([street_address, locality, country].filter((part) => part !== undefined).join(', ') ||
        TEXTS.permissions.notStored),
  };
  return values[scope] ?? undefined;
}
