/** The client as the admin API shows it: metadata and the state of its secrets, never a secret. */
import { z } from 'zod';
import { epochSeconds } from '../base/clock.ts';
import { ML_DSA_JWKS_PATH, RESPONSE_ALGS } from '../base/signing_algs.ts';
import { isLive, rotationDueAt, type ClientWithSecrets } from '../clients/client.ts';
import { readClient } from '../clients/client_rows.ts';
import { ClientMetadataShape, type ClientMetadata } from '../clients/metadata/client_metadata.ts';
import { outdatedAlgsOf } from '../clients/response_signing_algs.ts';
import type { Reader } from '../db/connection.ts';
import { entityTag } from './entity_tag.ts';
import { Timestamp, timestamp, timestampOrNull } from './shared_members.ts';

export const ClientView = z
  .strictObject({
    client_id: z.string(),
    client_id_issued_at: z.int().describe('Seconds since the epoch (RFC 7591).'),
    ...ClientMetadataShape.shape,
    revoked: z.boolean(),
    revoked_at: Timestamp.nullable(),
    revoked_reason: z.string().nullable(),
    live_secrets: z.int().describe('Number of secrets that the client can authenticate with now.'),
    secret_rotation_due_at: Timestamp.nullable().describe(
      'Null if the client has no secret_rotation_days or no live secret.',
    ),
    secret_rotation_overdue: z.boolean(),
    warnings: z
      .array(z.string())
      .describe('Settings that make this client less secure or no longer fit, as sentences.'),
    registration: z
      .strictObject({
        source: z.enum(['registration', 'metadata_document']),
        policy: z.string(),
        held_members: z
          .array(z.string())
          .describe('Members that an admin has set; the client cannot change them itself.'),
        document_pinned: z
          .boolean()
          .describe('Whether an admin keeps the stored copy of the metadata document; it is not fetched again.'),
      })
      .nullable()
      .describe('How the client registered itself; null if an admin registered it.'),
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
    ...secretStatus(client, now),
    warnings: warningsOf(metadata),
    registration: registration && {
      source: registration.source,
      policy: registration.policy,
      held_members: [...registration.heldMembers],
      document_pinned: registration.documentIsPinned,
    },
    created_at: timestamp(createdAt),
    updated_at: timestamp(updatedAt),
  };
}

function warningsOf(metadata: ClientMetadata): string[] {
  const { pkce_exemption, assertion_audience, first_party } = metadata;
  return [
    ...(pkce_exemption
      ? [`This client may omit PKCE, so the server cannot detect a stolen or injected code: ${pkce_exemption.reason}`]
      : []),
    ...(first_party ? ['People are not asked for consent at this client (first_party).'] : []),
    ...(assertion_audience === 'endpoints'
      ? ['This client may name an endpoint as the audience of its assertions, so another server may misuse one here.']
      : []),
    ...outdatedAlgsOf(metadata).map(
      ([member, alg]) =>
        `${member} is ${alg}, which is for access tokens alone: its keys are not at jwks_uri but at ${ML_DSA_JWKS_PATH} below the issuer, where libraries for clients do not look. Choose ${RESPONSE_ALGS.join(', ')}.`,
    ),
  ];
}

/**
 * The tag includes the state of the secrets, because it changes without a new version of the client row (see
 * `entityTag`).
 */
export function clientTag(client: ClientWithSecrets, now: Date): string {
  return entityTag(client.version, secretStatus(client, now));
}

/** Reads the client again after a change to it or its secrets, in the same transaction. */
export async function rereadClient(reader: Reader, clientId: string): Promise<ClientWithSecrets> {
  const client = await readClient(reader, clientId);
  if (!client) throw new Error('The client row disappeared while it was locked.');
  return client;
}

function secretStatus(client: ClientWithSecrets, now: Date) {
  const dueAt = rotationDueAt(client, now);
  return {
    live_secrets: client.secrets.filter((secret) => isLive(secret, now)).length,
    secret_rotation_due_at: timestampOrNull(dueAt),
    secret_rotation_overdue: dueAt !== undefined && dueAt <= now,
  };
}
