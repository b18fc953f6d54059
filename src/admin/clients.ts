/** Clients: register, list, show, change, delete. */
import { z } from 'zod';
import { epochSeconds } from '../base/clock.ts';
import { invalid, notFound } from '../base/refusal.ts';
import { inPlainWords } from '../base/violations.ts';
import { readClient, readClients } from '../clients/client_rows.ts';
import { usesSecret } from '../clients/metadata/authentication.ts';
import { ClientMetadata, ClientMetadataShape } from '../clients/metadata/client_metadata.ts';
import { addClient, applyPatch, deleteClient, lockClient, updateClient } from '../clients/client_store.ts';
import { readSector, type SectorDocument } from '../clients/sector.ts';
import { demandNotMet } from '../clients/server_demands.ts';
import { addSecret } from '../clients/secrets.ts';
import { signingAlgsOf } from '../clients/signing_algs.ts';
import { policyName } from '../registration/policy.ts';
import { holdMembers } from '../registration/self_registered_clients.ts';
import { NO_CONTENT, type Reply } from '../http/route.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './call.ts';
import { ClientView, clientTag, clientView, rereadClient } from './client_view.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { ClientParams, mergePatchOf, search } from './members.ts';
import { BroughtSecret, ExpiresInSeconds, prepareSecret } from './new_secret.ts';
import { refuseSelf, refuseToControl, refuseToGive } from './privilege_check.ts';
import { adminResourceIdentifier } from './scopes.ts';

const NewClient = ClientMetadataShape.extend({
  client_secret: BroughtSecret.optional(),
  client_secret_expires_in_seconds: ExpiresInSeconds.optional(),
})
  .meta({
    id: 'NewClient',
    examples: [
      {
        client_name: 'Nightly reports',
        grant_types: ['client_credentials'],
        token_endpoint_auth_method: 'client_secret_basic',
        resources: [{ resource: 'https://api.example.com', scopes: ['reports:read'] }],
        secret_rotation_days: 90,
      },
    ],
  })
  .transform(({ client_secret, client_secret_expires_in_seconds, ...given }, context) => {
    const { data: metadata, error } = ClientMetadata.safeParse(given, { error: inPlainWords });
    for (const { path, message } of error?.issues ?? []) context.addIssue({ code: 'custom', path, message });
    if (!metadata) return z.NEVER;
    const ofSecret = { client_secret, client_secret_expires_in_seconds };
    for (const [member, value] of Object.entries(ofSecret)) {
      if (value === undefined || usesSecret(metadata)) continue;
      context.addIssue({ code: 'custom', path: [member], message: 'is for clients that authenticate with a secret' });
    }
    return { metadata, ...ofSecret };
  });
type NewClient = z.output<typeof NewClient>;

const RegisteredClient = ClientView.extend({
  client_secret: z
    .string()
    .optional()
    .describe('Shown this once. Left out where you brought it, or where none is used.'),
  secret_id: z.string().optional(),
  client_secret_expires_at: z.int().optional().describe('Seconds since the epoch; 0 is never (RFC 7591).'),
}).meta({ id: 'RegisteredClient' });
type RegisteredClient = z.output<typeof RegisteredClient>;

const ListQuery = z.strictObject({
  ...paging,
  q: search('Part of a name or client_id, in any case.'),
  overdue: z
    .enum(['true', 'false'], 'must be true or false')
    .optional()
    .describe('Only clients whose secret is overdue for rotation, or only the others.'),
  policy: policyName.optional().describe('Only clients that came by themselves under this registration policy.'),
});

export const clientRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/clients',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Register a client',
    description: 'Scopes of the admin API can be given only by a caller whose own token carries them.',
    body: NewClient,
    reply: {
      status: 201,
      description: 'The client, and its secret where the server made one.',
      body: RegisteredClient,
      headers: ['ETag', 'Location'],
    },
    handle: ({ body }, call) => register(call, body),
  }),
  adminRoute({
    method: 'GET',
    path: '/clients',
    scope: 'clients:read',
    tag: 'clients',
    summary: 'List clients in the order in which they were made',
    query: ListQuery,
    reply: { status: 200, description: 'A page of clients.', body: pageOf(ClientView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/clients/{client_id}',
    scope: 'clients:read',
    tag: 'clients',
    summary: 'Show a client',
    params: ClientParams,
    reply: { status: 200, description: 'The client.', body: ClientView, headers: ['ETag'] },
    refuses: [404],
    async handle({ params }, call) {
      const client = await readClient(call.dependencies.database, params.client_id);
      if (!client) throw notFound(`There is no client ${params.client_id}.`);
      return call.show(clientTag(client, call.now), clientView(client, call.now));
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: '/clients/{client_id}',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Change a client (JSON merge patch)',
    description: 'What the patch does not name stays; null takes a member away. The result is validated as a whole.',
    params: ClientParams,
    body: mergePatchOf(ClientMetadataShape).meta({ id: 'ClientPatch', examples: [{ client_name: 'Weekly reports' }] }),
    reply: { status: 200, description: 'The client as it is now.', body: ClientView, headers: ['ETag'] },
    refuses: [404, 412],
    handle: ({ params, body }, call) => change(call, params.client_id, body),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/clients/{client_id}',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Delete a client with everything that belongs to it',
    params: ClientParams,
    reply: { status: 204, description: 'The client is gone, and its tokens are dead.' },
    refuses: [404, 409, 412],
    handle: ({ params }, call) =>
      call.write(async (inChange) => {
        const client = await lockClient(inChange.tx, params.client_id);
        refuseToControl(call, client);
        refuseSelf(call, client, 'delete');
        call.refuseOtherVersion(client.version);
        await deleteClient(inChange, client);
        return NO_CONTENT;
      }),
  }),
];

async function register(call: AdminCall, given: NewClient): Promise<Reply<RegisteredClient>> {
  const { metadata, client_secret, client_secret_expires_in_seconds: expiresInSeconds } = given;
  refuseToGive(call, metadata);
  refuseUnmetDemand(call, metadata);
  const prepared = usesSecret(metadata) ? await prepareSecret(call, client_secret) : undefined;
  const sector = await readSector(metadata, call.dependencies.fetchDocument);
  const { rotation } = call.dependencies;
  const keys = await rotation.makeMissing(signingAlgsOf(metadata));
  return call.write(async (inChange) => {
    await rotation.addIn(inChange, keys);
    const clientId = await addClient(inChange, metadata, { sector });
    const secret =
      prepared &&
      (await addSecret(
        inChange,
        { clientId, metadata, secrets: [] },
        { check: prepared.check, overlapSeconds: 0, expiresInSeconds },
      ));
    const client = await rereadClient(inChange.tx, clientId);
    const shown = secret && {
      ...prepared.shown,
      secret_id: secret.secretId,
      client_secret_expires_at: secret.expiresAt ? epochSeconds(secret.expiresAt) : 0,
    };
    return {
      status: 201,
      headers: {
        ETag: clientTag(client, call.now),
        Location: `${adminResourceIdentifier(call.dependencies.issuer)}/clients/${clientId}`,
      },
      body: { ...clientView(client, call.now), ...shown },
    };
  });
}

async function change(
  call: AdminCall,
  clientId: string,
  patch: Readonly<Record<string, unknown>>,
): Promise<Reply<ClientView>> {
  refuseUnmetDemand(call, patch);
  const sector = await sectorAfter(call, clientId, patch);
  const { rotation } = call.dependencies;
  const keys = await rotation.makeMissing(signingAlgsOf(patch));
  return call.write(async (inChange) => {
    const client = await lockClient(inChange.tx, clientId);
    refuseToControl(call, client);
    call.refuseOtherVersion(client.version);
    await rotation.addIn(inChange, keys);
    await updateClient(inChange, client, patch, sector);
    await holdMembers(inChange, client, patch);
    const changed = await rereadClient(inChange.tx, clientId);
    refuseToGive(call, changed.metadata);
    return { status: 200, headers: { ETag: clientTag(changed, call.now) }, body: clientView(changed, call.now) };
  });
}

/** What this server demands of every client; what a patch doesn't name is looked at when the client comes. */
function refuseUnmetDemand({ dependencies }: AdminCall, metadata: Partial<ClientMetadata>): void {
  const unmet = demandNotMet(metadata, dependencies.clientDemands);
  if (unmet) throw invalid(`/${unmet.member}`, unmet.detail);
}

/** What a client's sector is told by (clients/sector.ts). */
const SECTORAL = ['sector_identifier_uri', 'redirect_uris', 'grant_types', 'jwks_uri'];

/** What vouches for the client's sector as the patch would leave it, where the patch has a say in that. */
async function sectorAfter(
  call: AdminCall,
  clientId: string,
  patch: Readonly<Record<string, unknown>>,
): Promise<SectorDocument | undefined> {
  if (!SECTORAL.some((member) => member in patch)) return undefined;
  const client = await readClient(call.dependencies.database, clientId);
  if (!client) return undefined;
  refuseToControl(call, client);
  return readSector(applyPatch(client.metadata, patch), call.dependencies.fetchDocument, client.metadata);
}

type ClientPosition = { readonly created_at: string; readonly client_id: string };

async function list(call: AdminCall, { limit, cursor, q, overdue, policy }: z.output<typeof ListQuery>) {
  const clients: List = { name: 'clients', filters: { q, overdue, policy } };
  const after = await call.openCursor<ClientPosition>(clients, cursor);
  const rows = await readClients(call.dependencies.database, {
    limit: limit + 1,
    after: after && { createdAt: new Date(after.created_at), clientId: after.client_id },
    search: q,
    policy,
    overdue: overdue === undefined ? undefined : { is: overdue === 'true', now: call.now },
  });
  return call.page(clients, {
    rows,
    limit,
    position: ({ createdAt, clientId }): ClientPosition => ({
      created_at: createdAt.toISOString(),
      client_id: clientId,
    }),
    view: (client) => clientView(client, call.now),
  });
}
