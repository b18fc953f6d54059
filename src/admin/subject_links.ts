/**
 * Routes for links between the subjects of trusted issuers and accounts. A link lets the subject act as the account.
 */
import { z } from 'zod';
import { NO_CONTENT } from '../http/route.ts';
import {
  createSubjectLink,
  deleteSubjectLink,
  NewSubjectLink,
  readSubjectLinks,
  type SubjectLink,
} from '../trust/subject_links.ts';
import { requireRightsOf } from './account_rights.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { Timestamp, timestamp } from './shared_members.ts';
import { adminResourceIdentifier } from './scopes.ts';

const SubjectLinkView = z
  .strictObject({ link_id: z.string(), ...NewSubjectLink.shape, created_at: Timestamp })
  .meta({ id: 'SubjectLink' });

const example = { issuer: 'https://id.partner.example', subject: '248289761001', account_id: 'account_7Hq' };

const ListQuery = z.strictObject({
  ...paging,
  account_id: z.string().min(1).max(512).optional().describe('Only links to this account.'),
});

export const subjectLinkRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/subject-links',
    scope: 'accounts:write',
    tag: 'subject links',
    summary: 'Link a subject of a trusted issuer to an account',
    description: 'The caller needs every admin scope that the account has.',
    body: NewSubjectLink.meta({ id: 'NewSubjectLink', examples: [example] }),
    reply: { status: 201, description: 'The link.', body: SubjectLinkView, headers: ['Location'] },
    refuses: [409],
    handle: ({ body }, call) =>
      call.write(async (work) => {
        const link = await createSubjectLink(work, body);
        await requireRightsOf(call, work.tx, link.accountId);
        const location = `${adminResourceIdentifier(call.dependencies.issuer)}/subject-links/${link.linkId}`;
        return { status: 201, headers: { Location: location }, body: subjectLinkView(link) };
      }),
  }),
  adminRoute({
    method: 'GET',
    path: '/subject-links',
    scope: 'accounts:read',
    tag: 'subject links',
    summary: 'List links, oldest first',
    query: ListQuery,
    reply: { status: 200, description: 'A page of links.', body: pageOf(SubjectLinkView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/subject-links/{link_id}',
    scope: 'accounts:write',
    tag: 'subject links',
    summary: 'Delete a link',
    params: z.strictObject({ link_id: z.string().min(1).max(512).describe('The link.') }),
    reply: { status: 204, description: 'The link is deleted.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        await deleteSubjectLink(work, params.link_id);
        return NO_CONTENT;
      }),
  }),
];

type LinkPosition = { readonly created_at: string; readonly link_id: string };

async function list(call: AdminCall, { limit, cursor, account_id }: z.output<typeof ListQuery>) {
  const links: List = { name: 'subject_links', filters: { account_id } };
  const after = await call.openCursor<LinkPosition>(links, cursor);
  const rows = await readSubjectLinks(call.dependencies.database, {
    limit: limit + 1,
    after: after && { createdAt: new Date(after.created_at), linkId: after.link_id },
    accountId: account_id,
  });
  const position = ({ createdAt, linkId }: SubjectLink): LinkPosition => ({
    created_at: createdAt.toISOString(),
    link_id: linkId,
  });
  return call.page(links, { rows, limit, position, view: subjectLinkView });
}

function subjectLinkView({
  linkId,
  issuer,
  subject,
  accountId,
  createdAt,
}: SubjectLink): z.output<typeof SubjectLinkView> {
  return { link_id: linkId, issuer, subject, account_id: accountId, created_at: timestamp(createdAt) };
}
