/** A person without a browser: keeps cookies, follows redirects by hand and sends the forms of our pages as they are. */
import type { Gatehouse } from '../node/gatehouse.ts';

/** Where following redirects and filling in forms came to an end. */
export interface Arrival {
  /** The last address: outside the server it is the application's callback, and nothing was asked of it. */
  readonly url: string;
  /** The last answer of the server. */
  readonly response: Response;
  readonly page: string;
}

export interface PersonOptions {
  /** Another account than the demo one. */
  readonly account?: { readonly email: string; readonly password: string };
  readonly decision?: 'allow' | 'deny';
  /** The code for the second step of a login. */
  readonly code?: () => string;
  /** Whether the consent is remembered beyond the session. */
  readonly remember?: boolean;
  /** The address that a trusted proxy reports this person's requests from. */
  readonly address?: string;
}

interface Cookie {
  readonly value: string;
  readonly path: string;
}

const PAGES_AT_MOST = 20;

export class Person {
  readonly cookies = new Map<string, Cookie>();
  /** Every Set-Cookie header that the server sent. */
  readonly cookieHeaders: string[] = [];
  /** Every answer on the way, as `method path status`. */
  readonly trace: string[] = [];
  readonly #gatehouse: Pick<Gatehouse, 'issuer' | 'account'>;
  readonly #options: PersonOptions;

  constructor(gatehouse: Pick<Gatehouse, 'issuer' | 'account'>, options: PersonOptions = {}) {
    this.#gatehouse = gatehouse;
    this.#options = options;
  }

  /** One request with this person's cookies; redirects are not followed. */
  async fetch(url: string | URL, init: RequestInit = {}): Promise<Response> {
    const { pathname, href } = new URL(url);
    const headers = new Headers(init.headers);
    const { address } = this.#options;
    if (address !== undefined && !headers.has('x-forwarded-for')) headers.set('x-forwarded-for', address);
    const cookies = [...this.cookies].filter(([, { path }]) => path === '/' || pathname.startsWith(path));
    if (cookies.length > 0) headers.set('cookie', cookies.map(([name, { value }]) => `${name}=${value}`).join('; '));
    const response = await fetch(href, { ...init, headers, redirect: 'manual' });
    response.headers.getSetCookie().forEach((header) => this.#keep(header));
    this.trace.push(`${init.method ?? 'GET'} ${pathname} ${response.status}`);
    return response;
  }

  /** Follows redirects to a page, or to where the server has nothing more to say. */
  async open(url: string | URL, init: RequestInit = {}): Promise<Arrival> {
    let at = new URL(url).href;
    let response = await this.fetch(at, init);
    for (let hops = 0; hops < PAGES_AT_MOST; hops++) {
      const location = response.headers.get('location');
      if (!location) return { url: at, response, page: await response.text() };
      at = new URL(location, at).href;
      if (!this.#isOurs(at)) return { url: at, response, page: '' };
      response = await this.fetch(at);
    }
    throw new Error(`The server redirects for ever: ${this.trace.join(', ')}`);
  }

  /** Logs in and decides about the consent wherever that is asked, and answers where it all ended. */
  async walk(authorizationUrl: string | URL): Promise<Arrival> {
    return this.finish(await this.open(authorizationUrl));
  }

  /** The same from a page that was reached in another way. */
  async finish(reached: Arrival): Promise<Arrival> {
    let arrival = reached;
    for (let pages = 0; pages < PAGES_AT_MOST; pages++) {
      const form = formOf(arrival.page);
      if (!this.#isOurs(arrival.url) || !form) return arrival;
      // the second step, for which this person has no app at hand
      if (form.fields.includes('recovery_code')) return arrival;
      if (form.fields.includes('code') && !this.#options.code) return arrival;
      arrival = await this.submit(new URL(form.action, arrival.url), this.#fill(form));
    }
    throw new Error(`The same page again and again: ${this.trace.join(', ')}`);
  }

  /** Walks to the application's callback; throws with what the page says when it isn't reached. */
  async authorize(authorizationUrl: string | URL): Promise<URL> {
    const { url, response, page } = await this.walk(authorizationUrl);
    if (!this.#isOurs(url)) return new URL(url);
    throw new Error(`No callback: ${response.status} ${page.replaceAll(/<[^>]*>|\s+/g, ' ')}`);
  }

  submit(url: string | URL, fields: Readonly<Record<string, string>>): Promise<Arrival> {
    return this.open(url, { method: 'POST', body: new URLSearchParams(fields) });
  }

  #fill({ fields }: Form): Record<string, string> {
    const { account = this.#gatehouse.account, decision = 'allow', remember = false } = this.#options;
    const code = fields.includes('code') ? this.#options.code?.() : undefined;
    const values: Record<string, string> = {
      ...account,
      decision,
      ...(remember && { remember: 'on' }),
      ...(code !== undefined && { code }),
    };
    return Object.fromEntries(fields.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]])));
  }

  #isOurs(url: string): boolean {
    const { origin, pathname } = new URL(this.#gatehouse.issuer);
    return new URL(url).origin === origin && new URL(url).pathname.startsWith(pathname);
  }

  #keep(header: string): void {
    this.cookieHeaders.push(header);
    const [pair = '', ...attributes] = header.split(/; */);
    const name = pair.slice(0, pair.indexOf('='));
    const value = pair.slice(pair.indexOf('=') + 1);
    const attribute = (wanted: string): string | undefined =>
      attributes.find((one) => one.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1);
    const expires = attribute('expires');
    if (value === '' || (expires !== undefined && new Date(expires) <= new Date())) this.cookies.delete(name);
    else this.cookies.set(name, { value, path: attribute('path') ?? '/' });
  }
}

interface Form {
  readonly action: string;
  /** The names of its inputs and buttons. */
  readonly fields: readonly string[];
}

/** The form that continues the sign-in, if the page has one: the first, before the one for cancelling. */
function formOf(page: string): Form | undefined {
  const [form, action] =
    /<form method="post" action="([^"]*\/(?:login|second-step|choose|consent))">.*?<\/form>/s.exec(page) ?? [];
  if (form === undefined || action === undefined) return undefined;
  return { action, fields: [...form.matchAll(/<(?:input|button)[^>]* name="(\w+)"/g)].map(([, name = '']) => name) };
}
