/** The link of a page on which something has ended, so that no page leads nowhere. */
import type { Views } from '../http/views.ts';
import type { Application, NoticePage, Page } from './pages.ts';
import { fill, TEXTS } from './texts/texts.ts';

/**
 * Leads to the application if an admin has vetted the address of its website, else to the account page: a link of this
 * server must not lead to a site that a stranger chose (RFC 9700, 4.11.2).
 */
export function onwardLink(
  views: Views<Page>,
  application?: Pick<Application, 'name' | 'vettedUri'>,
): NonNullable<NoticePage['link']> {
  if (application?.vettedUri === undefined) return { text: TEXTS.goToAccount, href: views.path('/account') };
  return { text: fill(TEXTS.goTo, { application: application.name }), href: application.vettedUri };
}
