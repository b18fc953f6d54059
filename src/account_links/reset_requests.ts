/**
 * Requests for a new password by people who forgot theirs. The request only puts a message into the outbox: a node looks
 * for the account afterwards, so neither the answer nor its time tells whether an address has an account.
 */
import { findAccountByEmail, lockAccountIfAny, type Account } from '../accounts/account.ts';
import { countLinks, listLinks } from '../accounts/links.ts';
import type { Origin } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { addSeconds } from '../base/clock.ts';
import { Secret } from '../base/secret.ts';
import type { Database, Reader, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import { enqueue, type Sealer } from '../outbox/message.ts';
import type { OwnDeliveryType } from '../outbox/message_type.ts';
import { LINK_SECONDS, type LinkSender } from './link_sender.ts';
import { originOfRequest, requestPayload, type RequestOrigin } from './request_origin.ts';

const NAME = 'password_reset_request';
const REQUEST_SECONDS = 600;
/** Unused links of an account. With so many in the mailbox, another one is of no use; none of them ends. */
const UNUSED_AT_MOST = 3;

/** `receiver` stands for the address, without telling it: requests for one address are handled one after the other. */
export async function requestReset(
  tx: Tx,
  seal: Sealer,
  request: { readonly email: string; readonly receiver: string; readonly origin: RequestOrigin },
  now: Date,
): Promise<void> {
  const { email, receiver, origin } = request;
  const message = {
    kind: NAME,
    clientId: receiver,
    payload: requestPayload(origin),
    sealed: seal(new Secret(email)),
    expiresAt: addSeconds(now, REQUEST_SECONDS),
  };
  await enqueue(tx, [message], now);
}

export interface RequestsSettings {
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly links: LinkSender;
}

export function resetRequests({ database, trail, links }: RequestsSettings): OwnDeliveryType {
  return {
    name: NAME,
    retries: { attemptsAtMost: 20, firstWaitSeconds: 2, longestWaitSeconds: 60 },
    async deliver({ secret, payload }, now) {
      const found = secret && (await findAccountByEmail(database, secret.reveal()));
      if (!found) return { result: 'dropped' };
      const origin = originOfRequest(payload);
      const open = await links.open(now);
      const isSent = await transact(database, async (tx) => {
        const account = await lockAccountIfAny(tx, found.accountId);
        if (!account || account.disabledAt || account.email !== found.email) return true;
        if (!(await mayChooseAnother(tx, account, now))) return true;
        const since = addSeconds(now, -LINK_SECONDS.reset);
        if ((await countLinks(tx, account.accountId, { kind: 'reset', since })) >= UNUSED_AT_MOST) return false;
        await open.sendRequestedReset({ tx, trail, origin, now }, account);
        return true;
      });
      if (!isSent) await recordThrottled(trail, origin, found.accountId);
      return { result: 'dropped' };
    },
  };
}

/**
 * Without a password, there is nothing that the person could have forgotten: an admin invites them. But a person whose
 * report ended the password, and who has a link to a new one in this mailbox, may have lost its mail.
 */
async function mayChooseAnother(reader: Reader, { accountId, email, passwordHash }: Account, now: Date) {
  if (passwordHash !== null) return true;
  return (await listLinks(reader, accountId, now)).some(({ kind, sentTo }) => kind === 'reset' && sentTo === email);
}

/** Records that an account has enough unused links. */
async function recordThrottled(trail: AuditTrail, origin: Origin, accountId: string): Promise<void> {
  const details = { limit: 'account' };
  await trail.refusals.record(origin, { event: 'account.mail_throttled', outcome: 'refused', accountId, details });
}
