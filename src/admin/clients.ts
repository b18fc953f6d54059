/** Routes for clients: register, list, show, change and delete. */
import { z } from 'zod';
import { epochSeconds } from '../base/clock.ts';
import { invalid, notFound } from '../base/refusal.ts';
import { inPlainWords } from '../base/violations.ts';
import { readClient, readClients } from '../clients/client_rows.ts';
import { usesSecret } from '../clients/metadata/client_authentication.ts';
import { ClientMetadata, ClientMetadataShape } from '../clients/metadata/client_metadata.ts';
import { addClient, applyPatch, deleteClient, lockClient, updateClient } from '../clients/client_store.ts';
import { readSector, type SectorDocument } from '../clients/sector.ts';
import { demandNotMet } from '../clients/server_requirements.ts';
import { addSecret } from '../clients/secrets.ts';
import { signingAlgsOf } from '../clients/response_signing_algs.ts';
import { policyName } from '../registration/policy.ts';
import { holdMembers } from '../registration/self_registered_clients.ts';
import { NO_CONTENT, type Reply } from '../http/route.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { ClientView, clientTag, clientView, rereadClient } from './client_view.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { ClientParams, mergePatchOf, search } from './shared_members.ts';
import { ProvidedSecret, ExpiresInSeconds, prepareSecret } from './new_secret.ts';
import { refuseSelf, requireScopesToManage, requireScopesToAssign } from './privilege_check.ts';
import { adminResourceIdentifier } from './scopes.ts';

const NewClient = ClientMetadataShape.extend({
  client_secret: ProvidedSecret.optional(),
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
    const secretMembers = { client_secret, client_secret_expires_in_seconds };
    for (const [member, value] of Object.entries(secretMembers)) {
      if (value === undefined || usesSecret(metadata)) continue;
      context.addIssue({
        code: 'custom',
        path: [member],
        message: 'is only allowed for clients that authenticate with a secret',
      });
    }
    return { metadata, ...secretMembers };
  });
type NewClient = z.output<typeof NewClient>;

const RegisteredClient = ClientView.extend({
  client_secret: z
    .string()
    .optional()
    .describe('Shown only in this response. Absent if you provided the secret or the client uses none.'),
  secret_id: z.string().optional(),
  client_secret_expires_at: z.int().optional().describe('Seconds since the epoch; 0 means never (RFC 7591).'),
}).meta({ id: 'RegisteredClient' });
type RegisteredClient = z.output<typeof RegisteredClient>;

const ListQuery = z.strictObject({
  ...paging,
  q: search('Part of a name or client_id; case does not matter.'),
  overdue: z
    .enum(['true', 'false'], 'must be true or false')
    .optional()
    .describe('true: only clients whose secret is overdue for rotation; false: only the others.'),
  policy: policyName.optional().describe('Only clients that registered themselves under this registration policy.'),
});

export const clientRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/clients',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Register a client',
    description: 'The caller can assign only those admin scopes that its own token carries.',
    body: NewClient,
    reply: {
      status: 201,
      description: 'The client, and its secret if the server generated one.',
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
    summary: 'List clients, oldest first',
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
      if (!client) throw notFound(`Client ${params.client_id} not found.`);
      return call.show(clientTag(client, call.now), clientView(client, call.now));
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: '/clients/{client_id}',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Change a client (JSON merge patch)',
    description:
      'Members that the patch does not name stay unchanged; null removes a member. The server validates the resulting client as a whole.',
    params: ClientParams,
    body: mergePatchOf(ClientMetadataShape).meta({ id: 'ClientPatch', examples: [{ client_name: 'Weekly reports' }] }),
    reply: { status: 200, description: 'The client after the change.', body: ClientView, headers: ['ETag'] },
    refuses: [404, 412],
    handle: ({ params, body }, call) => update(call, params.client_id, body),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/clients/{client_id}',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Delete a client and all its data',
    params: ClientParams,
    reply: { status: 204, description: 'The client is deleted and its tokens are invalid.' },
    refuses: [404, 409, 412],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const client = await lockClient(work.tx, params.client_id);
        requireScopesToManage(call, client);
        refuseSelf(call, client, 'delete');
        call.refuseOtherVersion(client.version);
        await deleteClient(work, client);
        return NO_CONTENT;
      }),
  }),
];

async function register(call: AdminCall, given: NewClient): Promise<Reply<RegisteredClient>> {
  const { metadata, client_secret, client_secret_expires_in_seconds: expiresInSeconds } = given;
  requireScopesToAssign(call, metadata);
  requireServerDemands(call, metadata);
  const prepared = usesSecret(metadata) ? await prepareSecret(call, client_secret) : undefined;
  const sector = await readSector(metadata, call.dependencies.fetchDocument);
  const { rotation } = call.dependencies;
  const keys = await rotation.makeMissing(signingAlgsOf(metadata));
  return call.write(async (work) => {
    await rotation.addIn(work, keys);
    const clientId = await addClient(work, metadata, { sector });
    const secret =
      prepared &&
      (await addSecret(
        work,
        { clientId, metadata, secrets: [] },
        { check: prepared.check, overlapSeconds: 0, expiresInSeconds },
      ));
    const client = await rereadClient(work.tx, clientId);
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

async function update(
  call: AdminCall,
  clientId: string,
  patch: Readonly<Record<string, unknown>>,
): Promise<Reply<ClientView>> {
  requireServerDemands(call, patch);
  const sector = await sectorAfter(call, clientId, patch);
  const { rotation } = call.dependencies;
  const keys = await rotation.makeMissing(signingAlgsOf(patch));
  return call.write(async (work) => {
    const client = await lockClient(work.tx, clientId);
    requireScopesToManage(call, client);
    call.refuseOtherVersion(client.version);
    await rotation.addIn(work, keys);
    await updateClient(work, client, patch, sector);
    await holdMembers(work, client, patch);
    const changed = await rereadClient(work.tx, clientId);
    requireScopesToAssign(call, changed.metadata);
    return { status: 200, headers: { ETag: clientTag(changed, call.now) }, body: clientView(changed, call.now) };
  });
}

/**
 * Refuses metadata that does not meet this server's requirements for all clients. Members that a patch does not name
 * are checked when the client next uses them.
 */
function requireServerDemands({ dependencies }: AdminCall, metadata: Partial<ClientMetadata>): void {
  const unmet = demandNotMet(metadata, dependencies.clientDemands);
  if (unmet) throw invalid(`/${unmet.member}`, unmet.detail);
}

/** The metadata members that determine the client's sector (clients/sector.ts). */
const SECTOR_MEMBERS = ['sector_identifier_uri', 'redirect_uris', 'grant_types', 'jwks_uri'];

/**
 * Reads the sector document for the client as the patch would leave it; `undefined` if the patch does not affect the
 * sector.
 */
async function sectorAfter(
  call: AdminCall,
  clientId: string,
  patch: Readonly<Record<string, unknown>>,
): Promise<SectorDocument | undefined> {
  if (!SECTOR_MEMBERS.some((member) => member in patch)) return undefined;
  const client = await readClient(call.dependencies.database, clientId);
  if (!client) return undefined;
  requireScopesToManage(call, client);
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
