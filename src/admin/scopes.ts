/** The resource identifier and the scopes of the admin API. */
export const ADMIN_PREFIX = '/admin/v1';

export interface AdminScope {
  readonly name: string;
  readonly description: string;
}

/** No scope includes another one: a caller that may write still needs the read scope to read. */
export const ADMIN_SCOPES: readonly AdminScope[] = [
  { name: 'clients:read', description: 'See clients and how they are registered' },
  { name: 'clients:write', description: 'Register, change and delete clients' },
  { name: 'clients:revoke', description: 'Revoke clients and restore them' },
  { name: 'secrets:read', description: 'See which secrets clients have, never their values' },
  { name: 'secrets:rotate', description: 'Give clients new secrets and end old ones' },
  { name: 'resources:read', description: 'See resources and their scopes' },
  { name: 'resources:write', description: 'Register, change and delete resources' },
  { name: 'policies:read', description: 'See the policies that requests are judged by' },
  { name: 'policies:write', description: 'Set the policies that requests are judged by' },
  { name: 'keys:read', description: 'See the signing keys, without their private halves' },
  { name: 'keys:rotate', description: 'Rotate the signing keys' },
  { name: 'trust:read', description: 'See which issuers are trusted, and for what' },
  { name: 'trust:write', description: 'Trust issuers, change, disable and delete them' },
  { name: 'accounts:read', description: 'See accounts' },
  { name: 'accounts:write', description: 'Create, change, disable and delete accounts' },
  { name: 'accounts:links', description: 'Send people links to set a password, or get the links' },
  { name: 'roles:read', description: 'See roles' },
  { name: 'roles:write', description: 'Create, change and delete roles' },
  { name: 'groups:read', description: 'See groups and their members' },
  { name: 'groups:write', description: 'Create, change and delete groups, add and remove members' },
  { name: 'grants:read', description: 'See what people have granted and consented to' },
  { name: 'grants:revoke', description: 'End grants and withdraw consents' },
  { name: 'sessions:read', description: 'See where people are logged in' },
  { name: 'sessions:end', description: 'Log people out' },
  { name: 'audit:read', description: 'Read and export the audit trail' },
];

/** Returns the audience of access tokens for the admin API. */
export function adminResourceIdentifier(issuer: string): string {
  return `${issuer}${ADMIN_PREFIX}`;
}
