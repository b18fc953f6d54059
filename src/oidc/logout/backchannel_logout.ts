/**
 * Back-channel logout (OpenID Connect Back-Channel Logout 1.0). The library would post to every client while the person
 * waits, once, with a time-out of 2.5 seconds. Here a logout is an outbox message: the code that ends a session writes
 * the message, and the logout token is made at delivery, with the keys, the client and the address of that moment.
 */
import { Provider, type Client } from 'oidc-provider';
import { announceLogouts, BACKCHANNEL_LOGOUT } from '../../accounts/logouts.ts';
import type { Clock } from '../../base/clock.ts';
import type { Database } from '../../db/connection.ts';
import type { MessageType, Verdict } from '../../outbox/message_type.ts';
import { notesOf } from '../request/request_events.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { writeWithRequest } from '../request/request_writes.ts';
import { internalsOf } from '../provider/library_types.ts';

/** Retries span about a day; after that the application's own session is assumed to be over. */
const RETRIES = { attemptsAtMost: 30, firstWaitSeconds: 5, longestWaitSeconds: 3_600 };

/**
 * Replaces the library's back-channel logout, which it calls for each client when a person logs out. If the whole
 * session ends, session_store.ts enqueues the messages; this handles only the case where the session continues without
 * the client that asked for the logout.
 */
export function postponeLogouts(provider: Provider, { database, clock }: { database: Database; clock: Clock }): void {
  const { prototype } = internalsOf(provider).Client;
  prototype.backchannelLogout = async function (accountId, sid) {
    if (Provider.ctx?.oidc.params?.['logout']) return;
    const ended = { accountId, payload: { authorizations: { [this.clientId]: { sid } } } };
    const now = clock();
    await writeWithRequest(database, (tx) => announceLogouts(tx, [ended], now));
  };
  // the library ignores this error; the request must fail
  provider.on('backchannel.error', (ctx, error) => {
    notesOf(ctx).failure = error;
  });
}

/** The outbox message type of logout tokens. `provider` returns the current provider, whose keys sign. */
export function backchannelLogouts(provider: () => Provider): MessageType {
  return {
    name: BACKCHANNEL_LOGOUT,
    retries: RETRIES,
    async build({ messageId, clientId, payload }) {
      const current = provider();
      const client = await current.Client.find(clientId);
      if (!client?.backchannelLogoutUri) return undefined;
      const token = await logoutToken(current, client, { jti: messageId, ...payload });
      return {
        url: client.backchannelLogoutUri,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ logout_token: token }).toString(),
        vetted: recordOf(client).registration === null,
      };
    },
    judge,
  };
}

/** Section 2.4: the token expires after two minutes and has no nonce, so that it can't be mistaken for an ID token. */
async function logoutToken(
  provider: Provider,
  client: Client,
  { jti, account_id, sid }: Readonly<Record<string, unknown>>,
): Promise<string> {
  const { IdToken } = internalsOf(provider);
  const token = new IdToken({ sub: account_id }, { client, ctx: undefined });
  token.mask = { sub: null };
  token.set('events', { 'http://schemas.openid.net/event/backchannel-logout': {} });
  token.set('jti', jti);
  if (client.backchannelLogoutSessionRequired) token.set('sid', sid);
  return token.issue({ use: 'logout' });
}

/** Refusals that are temporary: the application is being redeployed or is overloaded. */
const TEMPORARY_STATUSES = [404, 408, 425, 429];

/**
 * Section 2.8: 200 or any other 2xx (some frameworks send 204 for an empty answer) is success; 400 refuses the token.
 */
function judge(status: number): Verdict {
  if (status >= 200 && status < 300) return 'delivered';
  return status >= 400 && status < 500 && !TEMPORARY_STATUSES.includes(status) ? 'refused' : 'try_again';
}
