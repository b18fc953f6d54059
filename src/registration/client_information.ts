/** The client information response (RFC 7591, 3.2.1; RFC 7592, 3). */
import { epochSeconds } from '../base/clock.ts';
import { isLive, type ClientWithSecrets } from '../clients/client.ts';
import { allowedView } from './allowed_metadata.ts';
import type { Registered } from './self_registered_clients.ts';

export const REGISTRATION_PATH = '/register';

interface Asked {
  readonly issuer: string;
  readonly now: Date;
}

/** The response for a registered client, without its secret. */
export function clientInformation(client: ClientWithSecrets, { issuer, now }: Asked): Record<string, unknown> {
  const { clientId, metadata, registration, createdAt, secrets } = client;
  const live = secrets.filter((secret) => isLive(secret, now));
  const expiries = live.map(({ expiresAt }) => (expiresAt ? epochSeconds(expiresAt) : 0));
  const scopes = [metadata.scope ?? '', ...metadata.resources.flatMap((access) => access.scopes)];
  return {
    client_id: clientId,
    client_id_issued_at: epochSeconds(createdAt),
    ...(live.length > 0 && { client_secret_expires_at: expiries.includes(0) ? 0 : Math.max(...expiries) }),
    ...allowedView(metadata),
    scope: [...new Set(scopes.filter(Boolean))].join(' '),
    ...(registration?.softwareStatement && { software_statement: registration.softwareStatement }),
    registration_client_uri: `${issuer}${REGISTRATION_PATH}/${clientId}`,
  };
}

/**
 * The response to a registration or an update, with the new registration access token and, if one was created, the new
 * secret.
 */
export function firstInformation({ client, secret, registrationAccessToken }: Registered, asked: Asked): object {
  return {
    ...clientInformation(client, asked),
    ...(secret && { client_secret: secret.value.reveal() }),
    registration_access_token: registrationAccessToken.reveal(),
  };
}
