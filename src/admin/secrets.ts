/** Routes for client secrets: add one while the others stay valid for a time, list them, and end one. */
import { z } from 'zod';
import { conflict, notFound } from '../base/refusal.ts';
import { isLive, type ClientWithSecrets, type StoredSecret } from '../clients/client.ts';
import { readClient } from '../clients/client_rows.ts';
import { lockClient } from '../clients/client_store.ts';
import { addSecret, endSecret, LONGEST_OVERLAP_SECONDS } from '../clients/secrets.ts';
import { NO_CONTENT, type Reply } from '../http/route.ts';
import { keepRegistration } from '../registration/client_quota.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { ClientParams, Timestamp, timestamp, timestampOrNull } from './shared_members.ts';
import { ProvidedSecret, ExpiresInSeconds, prepareSecret } from './new_secret.ts';
import { requireScopesToManage } from './privilege_check.ts';

const NewSecret = z
  .strictObject({
    overlap_seconds: z
      .int('must be a whole number of seconds')
      .min(0, 'must not be negative')
      .max(LONGEST_OVERLAP_SECONDS, `must be at most 30 days (${LONGEST_OVERLAP_SECONDS})`)
      .default(86_400)
      .describe('How long the existing secrets stay valid; 0 ends them at once.'),
    expires_in_seconds: ExpiresInSeconds.optional(),
    client_secret: ProvidedSecret.optional(),
  })
  .meta({ id: 'NewSecret', examples: [{ overlap_seconds: 3_600 }] });

const IssuedSecret = z
  .strictObject({
    secret_id: z.string(),
    client_secret: z.string().optional().describe('Shown only in this response. Absent if you provided the secret.'),
    expires_at: Timestamp.nullable(),
    previous: z
      .array(z.strictObject({ secret_id: z.string(), expires_at: Timestamp.nullable() }))
      .describe('The existing secrets and when each of them now expires.'),
  })
  .meta({ id: 'IssuedSecret' });

const SecretView = z
  .strictObject({
    secret_id: z.string(),
    hint: z.string().describe('The first characters, to tell secrets apart.'),
    state: z.enum(['live', 'expired', 'ended']),
    created_at: Timestamp,
    expires_at: Timestamp.nullable(),
    ended_at: Timestamp.nullable(),
    last_used_at: Timestamp.nullable().describe('Accurate to one minute.'),
  })
  .meta({ id: 'Secret' });

const SecretParams = ClientParams.extend({ secret_id: z.string().max(512).describe('A secret of this client.') });
const ListQuery = z.strictObject(paging);

export const secretRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/clients/{client_id}/secrets',
    scope: 'secrets:rotate',
    tag: 'secrets',
    summary: 'Create a new secret for a client',
    description:
      'The existing secrets stay valid for overlap_seconds, so that the client can switch without an outage.',
    params: ClientParams,
    body: NewSecret,
    reply: { status: 201, description: 'The new secret, and when the existing secrets expire.', body: IssuedSecret },
    refuses: [404, 409],
    handle: ({ params, body }, call) => rotate(call, params.client_id, body),
  }),
  adminRoute({
    method: 'GET',
    path: '/clients/{client_id}/secrets',
    scope: 'secrets:read',
    tag: 'secrets',
    summary: 'List the secrets of a client without their values, oldest first',
    params: ClientParams,
    query: ListQuery,
    reply: { status: 200, description: 'A page of secrets.', body: pageOf(SecretView) },
    refuses: [404],
    handle: ({ params, query }, call) => list(call, params.client_id, query),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/clients/{client_id}/secrets/{secret_id}',
    scope: 'secrets:rotate',
    tag: 'secrets',
    summary: 'End a secret',
    params: SecretParams,
    reply: { status: 204, description: 'The secret is invalid on all nodes.' },
    refuses: [404, 409],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const client = await lockClient(work.tx, params.client_id);
        requireScopesToManage(call, client);
        refuseOwnLast(call, client, params.secret_id);
        await endSecret(work, client, params.secret_id);
        return NO_CONTENT;
      }),
  }),
];

async function rotate(
  call: AdminCall,
  clientId: string,
  given: z.output<typeof NewSecret>,
): Promise<Reply<z.output<typeof IssuedSecret>>> {
  const { check, shown } = await prepareSecret(call, given.client_secret);
  return call.write(async (work) => {
    const client = await lockClient(work.tx, clientId);
    requireScopesToManage(call, client);
    await keepRegistration(work, clientId);
    const { secretId, expiresAt, previous } = await addSecret(work, client, {
      check,
      overlapSeconds: given.overlap_seconds,
      expiresInSeconds: given.expires_in_seconds,
    });
    return {
      status: 201,
      body: {
        secret_id: secretId,
        ...shown,
        expires_at: timestampOrNull(expiresAt),
        previous: previous.map((one) => ({ secret_id: one.secretId, expires_at: timestampOrNull(one.expiresAt) })),
      },
    };
  });
}

/** Cuts the page from the whole list in memory: a client has at most some tens of secrets, and all are read with it. */
async function list(call: AdminCall, clientId: string, { limit, cursor }: z.output<typeof ListQuery>) {
  const secrets: List = { name: 'secrets', filters: { client_id: clientId } };
  const after = await call.openCursor<{ readonly secret_id: string }>(secrets, cursor);
  const client = await readClient(call.dependencies.database, clientId);
  if (!client) throw notFound(`Client ${clientId} not found.`);
  const start = after ? client.secrets.findIndex((secret) => secret.secretId === after.secret_id) + 1 : 0;
  return call.page(secrets, {
    rows: client.secrets.slice(start),
    limit,
    position: ({ secretId }) => ({ secret_id: secretId }),
    view: (secret) => secretView(secret, call.now),
  });
}

/** Prevents an admin client from ending the secret that it needs to authenticate. */
function refuseOwnLast(call: AdminCall, client: ClientWithSecrets, secretId: string): void {
  const others = client.secrets.filter((secret) => secret.secretId !== secretId && isLive(secret, call.now));
  if (client.clientId === call.caller.clientId && others.length === 0) {
    throw conflict('This is the last live secret of your own client. Create a new one first.');
  }
}

function secretView(secret: StoredSecret, now: Date): z.output<typeof SecretView> {
  const { secretId, hint, createdAt, expiresAt, endedAt, lastUsedAt } = secret;
  return {
    secret_id: secretId,
    hint,
    state: endedAt ? 'ended' : isLive(secret, now) ? 'live' : 'expired',
    created_at: timestamp(createdAt),
    expires_at: timestampOrNull(expiresAt),
    ended_at: timestampOrNull(endedAt),
    last_used_at: timestampOrNull(lastUsedAt),
  };
}
