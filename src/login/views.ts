/** The views of the pages, with the texts that their templates use. */
import { Views } from '../http/views.ts';
import type { Page } from './pages.ts';
import { initialsOf } from './messages.ts';
import { fill, say, TEXTS } from './texts/texts.ts';

/** Returns the first letter or digit of an application's name, for its tile. */
function letterOf(name: string): string {
  return (/[\p{L}\p{N}]/u.exec(name)?.[0] ?? '?').toLocaleUpperCase(TEXTS.locale);
}

export function createViews(issuer: string): Views<Page> {
  return new Views<Page>(issuer, { texts: TEXTS, fill, say, initialsOf, letterOf });
}
