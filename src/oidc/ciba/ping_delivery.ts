/**
 * Notifies a client of a decision (CIBA, 10.2, ping mode): the server posts the `auth_req_id` to the client's
 * notification endpoint with the bearer token that the client chose. Both are stored encrypted from the request until
 * delivery.
 */
import type { ClientDirectory } from '../../clients/client_directory.ts';
import { Secret, sha256 } from '../../base/secret.ts';
import type { MessageType } from '../../outbox/message_type.ts';
import { enqueue, sealForMessage, type SealedSecret } from '../../outbox/message.ts';
import type { Database, Tx } from '../../db/connection.ts';
import type { Vault } from '../../vault/vault.ts';

interface Ping {
  readonly auth_req_id: string;
  readonly client_notification_token: string;
}

const NAME = 'backchannel_ping';

/** Encrypts the content of a notification until its delivery. */
export function sealPing(vault: Vault, ping: Ping, now: Date): Promise<SealedSecret> {
  return sealForMessage(vault, new Secret(JSON.stringify(ping)), now);
}

/**
 * Enqueues the notification in the decision's transaction. It expires with the request, after which the client can't
 * get tokens.
 */
export function sendPing(
  tx: Tx,
  sealed: SealedSecret,
  about: { readonly clientId: string; readonly accountId: string; readonly expiresAt: Date },
  now: Date,
): Promise<void> {
  const { clientId, accountId, expiresAt } = about;
  return enqueue(tx, [{ kind: NAME, clientId, payload: { account_id: accountId }, sealed, expiresAt }], now);
}

/** The outbox message type of notifications. */
export function pingDelivery(clients: ClientDirectory, database: Database): MessageType {
  return {
    name: NAME,
    // about three minutes: a client that is unreachable for longer has to poll
    retries: { attemptsAtMost: 8, firstWaitSeconds: 2, longestWaitSeconds: 60 },
    async build({ clientId, secret }) {
      const client = await clients.find(clientId);
      const url = client?.metadata.backchannel_client_notification_endpoint;
      if (!client || client.revokedAt || !url || !secret) return undefined;
      const { auth_req_id, client_notification_token } = JSON.parse(secret.reveal()) as Ping;
      if (!(await isAwaited(database, auth_req_id))) return undefined;
      return {
        url,
        headers: { authorization: `Bearer ${client_notification_token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ auth_req_id }),
        vetted: client.registration === null,
      };
    },
    /**
     * A client error is permanent: if the client refuses the token, the server does not send it again. So is a redirect,
     * which the client must not send and the server must not follow (CIBA, 10.2).
     */
    judge(status) {
      if (status >= 200 && status < 300) return 'delivered';
      return status >= 500 || status === 408 || status === 429 ? 'try_again' : 'refused';
    },
  };
}

/**
 * Whether the client does not know the decision yet. A client in ping mode may poll too (CIBA, 5), and needs no
 * notification of tokens that it has fetched or of a refusal that it has read: a decision resets `polled_at`.
 */
async function isAwaited(database: Database, authReqId: string): Promise<boolean> {
  const request = await database
    .selectFrom('backchannel_requests')
    .select(['status', 'polled_at', 'consumed_at'])
    .where('auth_req_id', '=', sha256(authReqId))
    .executeTakeFirst();
  if (!request || request.consumed_at) return false;
  return request.status !== 'denied' || request.polled_at === null;
}
