/**
 * What this server demands of every client by its settings, where a client could else demand it of itself alone. It
 * holds for clients that are registered from now on and, at their requests, for those that there are.
 */
import { sql } from 'kysely';
import type { ResponseMode } from '../base/response_modes.ts';
import type { Reader } from '../db/connection.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';

export interface ClientDemands {
  /** Every authorization request must have been pushed (RFC 9126). */
  readonly pushedRequests: boolean;
  /** Every access token must be bound to a key (RFC 9449) or to a client certificate (RFC 8705). */
  readonly senderConstrainedTokens: boolean;
  /** Every client must prove itself with a key of its own; public clients are refused. */
  readonly strongAuthentication: boolean;
  /** The response modes that this server answers in. */
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

/** What of a client's metadata the server does not accept, if anything. */
export function demandNotMet(
  { token_endpoint_auth_method: method, response_modes: modes }: Partial<ClientMetadata>,
  demands: ClientDemands,
): DemandNotMet | undefined {
  if (demands.strongAuthentication && method !== undefined && !STRONG_AUTH_METHODS.includes(method)) {
    const detail = `must be one of ${STRONG_AUTH_METHODS.join(', ')}: this server demands it of every client`;
    return { member: 'token_endpoint_auth_method', detail };
  }
  if (modes && !modes.some((mode) => answersIn(demands.responseModes, mode))) {
    const detail = `must have one that this server answers in: ${demands.responseModes.join(', ')}`;
    return { member: 'response_modes', detail };
  }
  return undefined;
}

/** For a code `jwt` is another name of `query.jwt` (JARM, 2.3.4). */
export function answersIn(modes: readonly ResponseMode[], mode: string): boolean {
  return modes.some((one) => inFull(one) === inFull(mode));
}

function inFull(mode: string): string {
  return mode === 'jwt' ? 'query.jwt' : mode;
}

/** How many clients are refused for how they prove themselves. */
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
