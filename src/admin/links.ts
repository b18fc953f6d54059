/** Routes for the one-time links of accounts: make one (an invitation or a reset), list those that work, end one. */
import { z } from 'zod';
import { findAccount, lockAccount } from '../accounts/account.ts';
import { endLink, listLinks, type AccountLink } from '../accounts/links.ts';
import { LINK_SECONDS, type PasswordLinkKind } from '../account_links/link_sender.ts';
import { conflict, notFound } from '../base/refusal.ts';
import { NO_CONTENT, type Reply } from '../http/route.ts';
import { requireRightsOf } from './account_rights.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { AccountParams, Timestamp, timestamp } from './shared_members.ts';

const NewLink = z
  .strictObject({
    kind: z
      .enum(['first_password', 'reset'])
      .describe('`first_password` invites a person who has no password yet; `reset` is for one who has.'),
    expires_in_seconds: z
      .int('must be a whole number of seconds')
      .min(300, 'must be at least 300 seconds')
      .max(30 * 86_400, 'must be at most 30 days (2592000)')
      .optional()
      .describe('How long the link works. If absent: 7 days for a first password, one hour for a reset.'),
  })
  .meta({ id: 'NewLink', examples: [{ kind: 'first_password' }] });

const members = {
  link_id: z.string(),
  kind: z.string(),
  sent_to: z.string().nullable().describe('The address that the link was sent to; null if it was not sent.'),
  expires_at: Timestamp,
};
const LinkView = z.strictObject({ ...members, created_at: Timestamp }).meta({ id: 'Link' });
const MadeLinkView = z
  .strictObject({
    ...members,
    url: z
      .string()
      .optional()
      .describe(
        'The link, only if the server sends no mails. Give it to the person; the server does not show it again.',
      ),
  })
  .meta({ id: 'MadeLink' });
const LinkList = z.strictObject({ items: z.array(LinkView) }).meta({ id: 'Links' });

const LinkParams = z.strictObject({
  ...AccountParams.shape,
  link_id: z.string().min(1, 'must not be empty').max(512, 'must not be longer than 512 characters'),
});

export const linkRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/accounts/{account_id}/links',
    scope: 'accounts:links',
    tag: 'accounts',
    summary: 'Make a one-time link with which the person sets a password',
    description:
      'The server sends the link to the address of the account, or returns it if it sends no mails. It ends earlier links of both kinds. The link works once; a new password or address of the account ends it.',
    params: AccountParams,
    body: NewLink,
    reply: { status: 201, description: 'The link.', body: MadeLinkView },
    refuses: [404, 409],
    handle: ({ params, body }, call) => make(call, params.account_id, body),
  }),
  adminRoute({
    method: 'GET',
    path: '/accounts/{account_id}/links',
    scope: 'accounts:read',
    tag: 'accounts',
    summary: 'List the links of an account that work, newest first',
    description: 'The list has no page: an account has few links. None of them is shown.',
    params: AccountParams,
    reply: { status: 200, description: 'The links.', body: LinkList },
    refuses: [404],
    async handle({ params }, { dependencies: { database }, now }) {
      if (!(await findAccount(database, params.account_id))) throw notFound(`Account ${params.account_id} not found.`);
      const links = await listLinks(database, params.account_id, now);
      return { status: 200, body: { items: links.map(linkView) } };
    },
  }),
  adminRoute({
    method: 'DELETE',
    path: '/accounts/{account_id}/links/{link_id}',
    scope: 'accounts:links',
    tag: 'accounts',
    summary: 'End a link before it is used',
    params: LinkParams,
    reply: { status: 204, description: 'The link no longer works.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const account = await lockAccount(work.tx, params.account_id);
        if (!(await endLink(work, account.accountId, params.link_id)))
          throw notFound(`Link ${params.link_id} not found.`);
        return NO_CONTENT;
      }),
  }),
];

async function make(
  call: AdminCall,
  accountId: string,
  { kind, expires_in_seconds: seconds = LINK_SECONDS[kind] }: z.output<typeof NewLink>,
): Promise<Reply<z.output<typeof MadeLinkView>>> {
  const open = await call.dependencies.links.open(call.now);
  return call.write(async (work) => {
    const account = await lockAccount(work.tx, accountId);
    await requireRightsOf(call, work.tx, accountId);
    if (account.disabledAt) throw conflict(`${accountId} is disabled.`);
    refuseOtherKind(kind, account.passwordHash !== null);
    const made = await open.makePasswordLink(work, account, { kind, seconds });
    const { linkId, sentTo, expiresAt, url } = made;
    const shown = { link_id: linkId, kind, sent_to: sentTo, expires_at: timestamp(expiresAt) };
    return { status: 201, body: { ...shown, ...(url && { url: url.reveal() }) } };
  });
}

function refuseOtherKind(kind: PasswordLinkKind, hasPassword: boolean): void {
  if (kind === 'first_password' && hasPassword)
    throw conflict('The account has a password; make a link of kind reset.');
  if (kind === 'reset' && !hasPassword)
    throw conflict('The account has no password; make a link of kind first_password.');
}

function linkView({ linkId, kind, sentTo, createdAt, expiresAt }: AccountLink): z.output<typeof LinkView> {
  return {
    link_id: linkId,
    kind,
    sent_to: sentTo,
    created_at: timestamp(createdAt),
    expires_at: timestamp(expiresAt),
  };
}
