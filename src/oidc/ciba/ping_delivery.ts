/**
 * Telling a client that a decision was made (CIBA, 10.2, ping): its notification endpoint gets the `auth_req_id`, and the
 * bearer token that the client chose for this. Both are sealed from the moment the request comes until they are sent.
 */
import type { ClientDirectory } from '../../clients/client_directory.ts';
import { Secret } from '../../base/secret.ts';
import type { MessageType } from '../../outbox/message_type.ts';
import { enqueue, sealForMessage, type SealedSecret } from '../../outbox/message.ts';
import type { Tx } from '../../db/connection.ts';
import type { Vault } from '../../vault/vault.ts';

interface Ping {
  readonly auth_req_id: string;
  readonly client_notification_token: string;
}

const NAME = 'backchannel_ping';

export function sealPing(vault: Vault, ping: Ping, now: Date): Promise<SealedSecret> {
  return sealForMessage(vault, new Secret(JSON.stringify(ping)), now);
}

/** Part of the decision's transaction. Once the request has expired the client could fetch nothing any more. */
export function sendPing(
  tx: Tx,
  sealed: SealedSecret,
  about: { readonly clientId: string; readonly accountId: string; readonly expiresAt: Date },
  now: Date,
): Promise<void> {
  const { clientId, accountId, expiresAt } = about;
  return enqueue(tx, [{ kind: NAME, clientId, payload: { account_id: accountId }, sealed, expiresAt }], now);
}

export function pingDelivery(clients: ClientDirectory): MessageType {
  return {
    name: NAME,
    // within some three minutes: a client that is away for longer has to poll
    retries: { attemptsAtMost: 8, firstWaitSeconds: 2, longestWaitSeconds: 60 },
    async build({ clientId, secret }) {
      const client = await clients.find(clientId);
      const url = client?.metadata.backchannel_client_notification_endpoint;
      if (!client || client.revokedAt || !url || !secret) return undefined;
      const { auth_req_id, client_notification_token } = JSON.parse(secret.reveal()) as Ping;
      return {
        url,
        headers: { authorization: `Bearer ${client_notification_token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ auth_req_id }),
        vetted: client.registration === null,
      };
    },
    /** What the client did wrong it will do wrong again: a token that it refuses is not sent a second time. */
    judge(status) {
      if (status >= 200 && status < 300) return 'delivered';
      return status >= 500 || status === 408 || status === 429 ? 'try_again' : 'refused';
    },
  };
}
