/** A client as the admin API shows it: its metadata, and how it stands with its secrets. Never a secret. */
import { z } from 'zod';
import { epochSeconds } from '../base/clock.ts';
import { isLive, rotationDueAt, type ClientWithSecrets } from '../clients/client.ts';
import { readClient } from '../clients/client_rows.ts';
import { ClientMetadataShape, type ClientMetadata } from '../clients/metadata/client_metadata.ts';
import type { Reader } from '../db/connection.ts';
import { entityTag } from './entity_tag.ts';
import { Timestamp, timestamp, timestampOrNull } from './members.ts';

export const ClientView = z
  .strictObject({
    client_id: z.string(),
    client_id_issued_at: z.int().describe('Seconds since the epoch (RFC 7591).'),
    ...ClientMetadataShape.shape,
    revoked: z.boolean(),
    revoked_at: Timestamp.nullable(),
    revoked_reason: z.string().nullable(),
    live_secrets: z.int().describe('How many secrets the client can prove itself with now.'),
    secret_rotation_due_at: Timestamp.nullable().describe(
      'Null without secret_rotation_days or without a live secret.',
    ),
    secret_rotation_overdue: z.boolean(),
    warnings: z.array(z.string()).describe('What weakens this client, in words.'),
    registration: z
      .strictObject({
        source: z.enum(['registration', 'metadata_document']),
        policy: z.string(),
        held_members: z.array(z.string()).describe('What an admin has set: the client can’t change it by itself.'),
      })
      .nullable()
      .describe('How the client came here by itself; null where an admin made it.'),
    created_at: Timestamp,
    updated_at: Timestamp,
  })
  .meta({ id: 'Client' });
export type ClientView = z.output<typeof ClientView>;

export function clientView(client: ClientWithSecrets, now: Date): ClientView {
  const { clientId, metadata, createdAt, updatedAt, revokedAt, revokedReason, registration } = client;
  return {
    client_id: clientId,
    client_id_issued_at: epochSeconds(createdAt),
    ...metadata,
    revoked: revokedAt !== null,
    revoked_at: timestampOrNull(revokedAt),
    revoked_reason: revokedReason,
    ...standing(client, now),
    warnings: warningsOf(metadata),
    registration: registration && {
      source: registration.source,
      policy: registration.policy,
      held_members: [...registration.heldMembers],
    },
    created_at: timestamp(createdAt),
    updated_at: timestamp(updatedAt),
  };
}

function warningsOf({ pkce_exemption }: ClientMetadata): string[] {
  if (!pkce_exemption) return [];
  return [`This client may leave out PKCE, so a stolen or injected code is not noticed: ${pkce_exemption.reason}`];
}

/** How a client stands with its secrets is no part of its version: see entityTag. */
export function clientTag(client: ClientWithSecrets, now: Date): string {
  return entityTag(client.version, standing(client, now));
}

/** The client after a change of it, or of its secrets, in the same transaction. */
export async function rereadClient(reader: Reader, clientId: string): Promise<ClientWithSecrets> {
  const client = await readClient(reader, clientId);
  if (!client) throw new Error('A client is gone while it is locked.');
  return client;
}

function standing(client: ClientWithSecrets, now: Date) {
  const dueAt = rotationDueAt(client, now);
  return {
    live_secrets: client.secrets.filter((secret) => isLive(secret, now)).length,
    secret_rotation_due_at: timestampOrNull(dueAt),
    secret_rotation_overdue: dueAt !== undefined && dueAt <= now,
  };
}
