/**
 * Delivers mails from the outbox. A mail server that does not answer gets a rest after some failures in a row, and only
 * some mails are sent at once, so that mails do not take all places of the outbox.
 */
import type { OwnDelivery, OwnDeliveryType } from '../outbox/message_type.ts';
import type { WrittenMail } from './mail_layout.ts';
import { MAIL } from './mailer.ts';
import type { Transport } from './transport.ts';

export interface MailDeliverySettings {
  readonly issuer: string;
  readonly from: string;
  readonly transport: Transport;
}

const AT_ONCE = 4;
const BUSY_SECONDS = 1;
/** Less than the lease of the outbox, so that no other node sends the same mail meanwhile. */
const ATTEMPT_MILLISECONDS = 8_000;
const FAILURES_IN_A_ROW = 5;
const REST_SECONDS = 15;

export function mailDelivery(settings: MailDeliverySettings): OwnDeliveryType {
  const { host } = new URL(settings.issuer);
  let underWay = 0;
  let failures = 0;
  let restsUntil = -Infinity;
  return {
    name: MAIL,
    // about six hours
    retries: { attemptsAtMost: 45, firstWaitSeconds: 5, longestWaitSeconds: 600 },
    async deliver({ messageId, secret }) {
      if (!secret) return { result: 'dropped' };
      if (underWay >= AT_ONCE) return { result: 'not_now', reason: 'busy', waitSeconds: BUSY_SECONDS };
      if (performance.now() < restsUntil) return { result: 'not_now', reason: 'resting', waitSeconds: REST_SECONDS };
      const mail = JSON.parse(secret.reveal()) as WrittenMail & { readonly to: string };
      underWay++;
      const delivery = await send(settings, { ...mail, messageId: `<${messageId}@${host}>` }).finally(() => underWay--);
      failures = delivery.result === 'try_again' ? failures + 1 : 0;
      if (failures >= FAILURES_IN_A_ROW) restsUntil = performance.now() + REST_SECONDS * 1_000;
      return delivery;
    },
  };
}

type AddressedMail = WrittenMail & { readonly to: string; readonly messageId: string };

async function send({ from, transport }: MailDeliverySettings, mail: AddressedMail): Promise<OwnDelivery> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new MailFailed('timed_out')), ATTEMPT_MILLISECONDS);
  try {
    await Promise.race([transport({ ...mail, from }), late.promise]);
    return { result: 'delivered' };
  } catch (error) {
    return judge(error);
  } finally {
    clearTimeout(timer);
  }
}

class MailFailed extends Error {}

/**
 * The server's reply may contain the address and parts of the mail, so only its code is logged. It refuses a mail for
 * ever with 5xx to the envelope or the content (RFC 5321, 4.2.1); 5xx to the login is a fault of the settings, which the
 * operator corrects.
 */
function judge(error: unknown): OwnDelivery {
  if (error instanceof MailFailed) return { result: 'try_again', reason: error.message };
  const { code = 'unknown', responseCode } = error as { readonly code?: string; readonly responseCode?: number };
  const reason = responseCode === undefined ? code : `${code} ${responseCode}`;
  const isPermanent = (code === 'EENVELOPE' || code === 'EMESSAGE') && (responseCode ?? 0) >= 500;
  return { result: isPermanent ? 'refused' : 'try_again', reason };
}
