/**
 * Requirements of this server for all its clients, from its settings. They apply to clients that register later and to
 * the requests of existing ones.
 */
import { sql } from 'kysely';
import type { ResponseMode } from '../base/response_modes.ts';
import type { Reader } from '../db/connection.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';

export interface ClientDemands {
  /** Every client must push its authorization requests (RFC 9126). */
  readonly pushedRequests: boolean;
  /** Every access token must be bound to a key (RFC 9449) or a client certificate (RFC 8705). */
  readonly senderConstrainedTokens: boolean;
  /** Every client must authenticate with its own key; public clients are refused. */
  readonly strongAuthentication: boolean;
  /** The response modes that this server supports. */
  readonly responseModes: readonly ResponseMode[];
}

export const STRONG_AUTH_METHODS: readonly string[] = [
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
];

export interface DemandNotMet {
  readonly member: 'token_endpoint_auth_method' | 'response_modes';
  readonly detail: string;
}

/** Returns the first requirement that the metadata does not meet, or `undefined`. */
export function demandNotMet(
  { token_endpoint_auth_method: method, response_modes: modes }: Partial<ClientMetadata>,
  demands: ClientDemands,
): DemandNotMet | undefined {
  if (demands.strongAuthentication && method !== undefined && !STRONG_AUTH_METHODS.includes(method)) {
    const detail = `must be one of ${STRONG_AUTH_METHODS.join(', ')}: this server requires it of every client`;
    return { member: 'token_endpoint_auth_method', detail };
  }
  if (modes && !modes.some((mode) => supportsResponseMode(demands.responseModes, mode))) {
    const detail = `must contain one that this server supports: ${demands.responseModes.join(', ')}`;
    return { member: 'response_modes', detail };
  }
  return undefined;
}

/** Whether the server supports the mode. For a code, `jwt` is another name of `query.jwt` (JARM, 2.3.4). */
export function supportsResponseMode(modes: readonly ResponseMode[], mode: string): boolean {
  return modes.some((one) => fullName(one) === fullName(mode));
}

function fullName(mode: string): string {
  return mode === 'jwt' ? 'query.jwt' : mode;
}

/** Counts the clients that are refused because of their authentication method. */
export async function countRefused(reader: Reader, { strongAuthentication }: ClientDemands): Promise<number> {
  if (!strongAuthentication) return 0;
  const { count } = await reader
    .selectFrom('clients')
    .select((client) => client.fn.countAll<number>().as('count'))
    .where(sql<string>`metadata->>'token_endpoint_auth_method'`, 'not in', STRONG_AUTH_METHODS)
    .where('revoked_at', 'is', null)
    .executeTakeFirstOrThrow();
  return count;
}
