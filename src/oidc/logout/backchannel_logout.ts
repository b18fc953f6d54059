/**
 * Back-channel logout (OpenID Connect Back-Channel Logout 1.0). The library would post to every client while the person
 * waits, for 2.5 seconds and once. Here a logout is a message of the outbox: whoever ends a session writes it, and its
 * logout token is made when it is sent, with the keys, the client and the address of that moment.
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

/** About a day, after which an application's own session is over. */
const RETRIES = { attemptsAtMost: 30, firstWaitSeconds: 5, longestWaitSeconds: 3_600 };

/**
 * The library calls this for each client when a person logs out. Where the whole session ends, its end itself is what
 * tells them (session_store.ts); here the session goes on without the one client that asked for the logout.
 */
export function postponeLogouts(provider: Provider, { database, clock }: { database: Database; clock: Clock }): void {
  const { prototype } = internalsOf(provider).Client;
  prototype.backchannelLogout = async function (accountId, sid) {
    if (Provider.ctx?.oidc.params?.['logout']) return;
    const ended = { accountId, payload: { authorizations: { [this.clientId]: { sid } } } };
    const now = clock();
    await writeWithRequest(database, (tx) => announceLogouts(tx, [ended], now));
  };
  // the library would go on as if nothing had happened
  provider.on('backchannel.error', (ctx, error) => {
    notesOf(ctx).failure = error;
  });
}

/** `provider` is the one in force: its keys sign. */
export function backchannelLogouts(provider: () => Provider): MessageType {
  return {
    name: BACKCHANNEL_LOGOUT,
    retries: RETRIES,
    async build({ messageId, clientId, payload }) {
      const inForce = provider();
      const client = await inForce.Client.find(clientId);
      if (!client?.backchannelLogoutUri) return undefined;
      const token = await logoutToken(inForce, client, { jti: messageId, ...payload });
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

/** Section 2.4: two minutes to live, and no nonce, so that it can't pass for an ID token. */
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

/** Refusals that pass: a release under way, a receiver that has too much to do. */
const PASSING = [404, 408, 425, 429];

/** Section 2.8: 200, or what a framework makes of an empty answer; 400 says that the token is not taken. */
function judge(status: number): Verdict {
  if (status >= 200 && status < 300) return 'delivered';
  return status >= 400 && status < 500 && !PASSING.includes(status) ? 'refused' : 'try_again';
}
