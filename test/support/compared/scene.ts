/**
 * Starts two nodes on one database, with clients of many kinds and accounts. Only one node answers on the fast path.
 */
import { MasterKey } from '../../../src/vault/master_key.ts';
import { Vault } from '../../../src/vault/vault.ts';
import { RefreshTokenFamilies } from '../../../src/oidc/storage/refresh_token_families.ts';
import { Admin } from '../client/admin.ts';
import { REDIRECT_URI } from '../client/code_flow.ts';
import { addTo, makeRole } from '../client/roles.ts';
import { startGatehouse, TEST_MASTER_KEY, type Gatehouse } from '../node/gatehouse.ts';
import { registerClient, registerResource } from '../node/operator.ts';
import type { Client } from './random_requests.ts';

export interface Scene {
  readonly fast: Gatehouse;
  readonly library: Gatehouse;
  readonly families: RefreshTokenFamilies;
  readonly accountId: string;
  readonly disabledAccountId: string;
  /** Clients for programs. Kinds that the fast path serves are in the list several times. */
  readonly machines: readonly Client[];
  /** Clients for applications that people use, in the same way. */
  readonly applications: readonly Client[];
  /** The scopes of each resource. */
  readonly scopesOf: Readonly<Record<string, readonly string[]>>;
  stop(): Promise<void>;
}

const ENVIRONMENT = {
  GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
  GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '1000000',
  GATEHOUSE_CLIENT_REQUESTS_BURST: '1000000',
  // without the log lines of each request and event: this test reads the database instead
  LOG_LEVEL: 'warn',
};

export async function startScene(): Promise<Scene> {
  const fast = await startGatehouse({ environment: ENVIRONMENT });
  const library = await startGatehouse({ environment: ENVIRONMENT, beside: fast });
  const files = await registerResource(fast, 'files', { access_token_ttl_seconds: 10, userinfo_audience: false });
  const old = await registerResource(fast, 'old', { signing_alg: 'RS256' });
  const notes = { resource: fast.demo.resource, scopes: fast.demo.scope.split(' ') };
  const apis = [notes, files, old];
  const { accountId, disabledAccountId } = await makeAccounts(fast);
  const allowed_groups = await makeGroups(fast, accountId, { notes, files });
  const { machines, applications } = await registerClients(fast, { notes, files, old, ...allowed_groups });
  const vault = new Vault(fast.database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]);
  const key = await vault.current('cookies', new Date());
  return {
    fast,
    library,
    families: new RefreshTokenFamilies(key.digest('marks refresh tokens')),
    accountId,
    disabledAccountId,
    machines,
    applications,
    scopesOf: Object.fromEntries(apis.map(({ resource, scopes }) => [resource, scopes])),
    async stop() {
      await library.stop();
      await fast.stop();
    },
  };
}

type Api = Awaited<ReturnType<typeof registerResource>>;

interface Registered {
  readonly notes: Api;
  readonly files: Api;
  readonly old: Api;
  /** A group that the account is in, and one that it is not in. */
  readonly own: string;
  readonly other: string;
}

/**
 * The account holds a role with one scope of the files API, and none with `notes:write`. The files API has claims about
 * people in its tokens. Both nodes know all of it when this resolves.
 */
async function makeGroups(
  gatehouse: Gatehouse,
  accountId: string,
  { notes, files }: { readonly notes: Api; readonly files: Api },
): Promise<{ readonly own: string; readonly other: string }> {
  const admin = await Admin.of(gatehouse);
  const own = await makeRole(admin, files.resource, files.scopes[1]!);
  await addTo(admin, own, accountId);
  const other = await makeRole(admin, notes.resource, 'notes:write');
  const mappings = [
    { claim: 'teams', from: 'groups' },
    { claim: 'mail', from: 'email' },
  ];
  await admin.patch(`/resources/${encodeURIComponent(files.resource)}`, { claim_mappings: mappings });
  return { own: own.groupId, other: other.groupId };
}

async function registerClients(gatehouse: Gatehouse, { notes, files, old, own, other }: Registered) {
  const make = async (
    name: string,
    metadata: { readonly token_endpoint_auth_method?: string; readonly [member: string]: unknown },
  ): Promise<Client> => {
    const { token_endpoint_auth_method: method = 'client_secret_basic' } = metadata;
    const client = await registerClient(gatehouse, {
      introspects: method === 'none' ? [] : [notes.resource],
      ...metadata,
    });
    return { ...client, name, method: method.replace('client_secret_', '') as Client['method'] };
  };
  const revoke = async (client: Client): Promise<Client> => {
    await gatehouse.adminCall('POST', `/clients/${client.client_id}/revoke`, { reason: 'A test' });
    return client;
  };
  const post = { token_endpoint_auth_method: 'client_secret_post' };
  const machine = { grant_types: ['client_credentials'], redirect_uris: [] };
  const machines = [
    ...times(6, await make('machine', machine)),
    ...times(4, await make('machine with post', { ...machine, ...post })),
    ...times(2, await make('machine of two APIs', { ...machine, resources: [notes, files] })),
    ...times(3, await make('machine of one scope', { ...machine, resources: [{ ...notes, scopes: ['notes:read'] }] })),
    ...times(3, await make('machine of files', { ...machine, resources: [files], introspects: [files.resource] })),
    await make('machine of an API with RSA', { ...machine, resources: [old] }),
    await make('machine of nothing', { ...machine, resources: [] }),
    await make('machine bound to a key', { ...machine, dpop_bound_access_tokens: true }),
    await revoke(await make('revoked machine', machine)),
  ];
  const people = { grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [REDIRECT_URI] };
  const quick = { ...people, id_token_signed_response_alg: 'ES256' };
  const applications = [
    ...times(14, await make('application', quick)),
    ...times(3, await make('application with post', { ...quick, ...post })),
    ...times(3, await make('application with pairwise subjects', { ...quick, subject_type: 'pairwise' })),
    ...times(3, await make('application of two APIs', { ...quick, resources: [notes, files] })),
    ...times(2, await make('application without refresh tokens', { ...quick, grant_types: ['authorization_code'] })),
    ...times(2, await make('application with a few scopes', { ...quick, scope: 'openid email' })),
    ...times(2, await make('application with minimal ID tokens', { ...quick, id_token_claims: 'minimal' })),
    ...times(2, await make('application for a group', { ...quick, allowed_groups: [own, other], first_party: true })),
    await make('application for another group', { ...quick, allowed_groups: [other] }),
    ...times(
      2,
      await make('application with added claims', {
        ...quick,
        account_claims: ['groups', 'roles'],
        claim_mappings: [
          { claim: 'user_name', from: 'email' },
          { claim: 'https://example.com/teams', from: 'groups' },
          { claim: 'country', from: 'address' },
        ],
      }),
    ),
    await make('application with added claims at userinfo', {
      ...quick,
      account_claims: ['groups'],
      id_token_claims: 'minimal',
    }),
    await make('application without a login', { ...quick, scope: 'email profile' }),
    await make('application without userinfo', { ...quick, userinfo_audience: false }),
    await make('application with RSA', people),
    await make('application of one scope', { ...quick, resources: [{ ...notes, scopes: ['notes:read'] }] }),
    await make('application of nothing', { ...quick, resources: [] }),
    await make('application bound to a key', { ...quick, dpop_bound_access_tokens: true }),
    await make('public application', { ...quick, token_endpoint_auth_method: 'none' }),
    await make('public application bound to a key', {
      ...quick,
      token_endpoint_auth_method: 'none',
      dpop_bound_access_tokens: true,
    }),
    await revoke(await make('revoked application', quick)),
  ];
  return { machines, applications };
}

async function makeAccounts(gatehouse: Gatehouse) {
  const admin = await Admin.of(gatehouse);
  const accountId = (await admin.get('/accounts')).body.items[0]!.account_id;
  const profile = {
    name: 'Ada Lovelace',
    given_name: 'Ada',
    phone_number: '+441234567890',
    address: { country: 'GB' },
  };
  await admin.patch(`/accounts/${accountId}`, profile);
  const { account_id: disabledAccountId } = (await admin.post('/accounts', { email: 'gone@example.com' })).body;
  await admin.post(`/accounts/${disabledAccountId}/disable`);
  return { accountId, disabledAccountId };
}

function times<T>(count: number, one: T): T[] {
  return Array.from({ length: count }, () => one);
}
