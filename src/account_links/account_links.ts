/**
 * One-time links for people, and the mails that carry them: invitations, resets, changes of the e-mail address, and
 * notices of changes with a link for ‘this wasn’t me’. The rows of links are in accounts/links.ts.
 */
import type { AuditTrail } from '../audit/trail.ts';
import type { Database } from '../db/connection.ts';
import type { Mailer } from '../mail/mailer.ts';
import type { Outbox } from '../outbox/outbox.ts';
import { emailChangeRequests } from './email_change_requests.ts';
import { LinkSender } from './link_sender.ts';
import { disablePassword, type Disablers } from './link_use.ts';
import { Notices } from './notices.ts';
import { resetRequests } from './reset_requests.ts';

export interface AccountLinksSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly outbox: Pick<Outbox, 'serve'>;
  readonly mailer: Mailer;
  /** Disables credentials of other folders, by their names. */
  readonly disablers?: Disablers;
}

export interface AccountLinks {
  readonly links: LinkSender;
  readonly notices: Notices;
  readonly disablers: Disablers;
}

export function createAccountLinks({ issuer, outbox, mailer, disablers, ...rest }: AccountLinksSettings): AccountLinks {
  const links = new LinkSender({ issuer, mailer });
  outbox.serve(resetRequests({ ...rest, links }));
  outbox.serve(emailChangeRequests({ ...rest, links }));
  return { links, notices: new Notices(links), disablers: { password: disablePassword, ...disablers } };
}
