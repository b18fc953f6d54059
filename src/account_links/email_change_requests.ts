/**
 * Requests of people who want another e-mail address. As for a forgotten password, a node looks at the address
 * afterwards, so that the page does not tell whether it has an account. The new address gets a link that proves it.
 */
import { findAccountByEmail, lockAccountIfAny } from '../accounts/account.ts';
import { endLinks } from '../accounts/links.ts';
import { addSeconds } from '../base/clock.ts';
import { Secret } from '../base/secret.ts';
import type { Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import { enqueue, type Sealer } from '../outbox/message.ts';
import type { OwnDeliveryType } from '../outbox/message_type.ts';
import { emailProof, emailTaken } from './mail_texts.ts';
import { originOfRequest, requestPayload, type RequestOrigin } from './request_origin.ts';
import type { RequestsSettings } from './reset_requests.ts';

const NAME = 'email_change_request';
const REQUEST_SECONDS = 600;

export async function requestEmailChange(
  tx: Tx,
  seal: Sealer,
  { email, origin }: { readonly email: string; readonly origin: RequestOrigin & { readonly accountId: string } },
  now: Date,
): Promise<void> {
  const message = {
    kind: NAME,
    clientId: origin.accountId,
    payload: requestPayload(origin),
    sealed: seal(new Secret(email)),
    expiresAt: addSeconds(now, REQUEST_SECONDS),
  };
  await enqueue(tx, [message], now);
}

export function emailChangeRequests({ database, trail, links }: RequestsSettings): OwnDeliveryType {
  return {
    name: NAME,
    retries: { attemptsAtMost: 20, firstWaitSeconds: 2, longestWaitSeconds: 60 },
    async deliver({ secret, payload, clientId: accountId }, now) {
      if (!secret) return { result: 'dropped' };
      const email = secret.reveal();
      const open = await links.open(now);
      await transact(database, async (tx) => {
        const work = { tx, trail, origin: originOfRequest(payload), now };
        const account = await lockAccountIfAny(tx, accountId);
        if (!account || account.disabledAt || account.email === email) return;
        if (await findAccountByEmail(tx, email)) {
          await open.tell(work, { accountId, to: email, content: emailTaken(links.sender) });
          return;
        }
        await endLinks(tx, accountId, ['email_change']);
        await open.send(work, { accountId, kind: 'email_change', sentTo: email, email }, (link, expiresAt) =>
          emailProof(links.sender, link, expiresAt),
        );
      });
      return { result: 'dropped' };
    },
  };
}
