/** A person who opens a one-time link and sends the form of its page. */
import type { Gatehouse } from '../node/gatehouse.ts';
import { Person, type Arrival } from './person.ts';

export class LinkVisitor {
  readonly person: Person;
  readonly #gatehouse: Pick<Gatehouse, 'issuer' | 'account' | 'url'>;

  constructor(gatehouse: Pick<Gatehouse, 'issuer' | 'account' | 'url'>, person = new Person(gatehouse)) {
    this.#gatehouse = gatehouse;
    this.person = person;
  }

  open(link: string): Promise<Arrival> {
    return this.person.open(link);
  }

  /** Sends the form of the page that a link led to, to `node` if it is another one. */
  async send(
    { page }: Pick<Arrival, 'page'>,
    fields: Readonly<Record<string, string>> = {},
    node: Pick<Gatehouse, 'url'> = this.#gatehouse,
  ): Promise<Arrival> {
    const [, form_token = ''] = /name="form_token" value="([^"]+)"/.exec(page) ?? [];
    const { pathname } = new URL(this.#gatehouse.issuer);
    const url = `${node.url}${pathname.replace(/\/$/, '')}/link`;
    return this.person.submit(url, { form_token, ...fields });
  }

  /** Opens the link, and sets this password with it. */
  async setPassword(link: string, new_password: string): Promise<Arrival> {
    return this.send(await this.open(link), { new_password });
  }
}

/** What a page says, as one line. */
export function wordsOf({ page }: Pick<Arrival, 'page'>): string {
  return page
    .replace(/^[\s\S]*<main[^>]*>/, '')
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim();
}
