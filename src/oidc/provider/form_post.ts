/**
 * Answers that the browser posts to the application (OAuth 2.0 Form Post Response Mode). The library renders its own
 * page for them in several places and can't be configured to use another, so this parses that page and renders the
 * server's own.
 */
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import { oidcContextOf } from './library_types.ts';

export interface FormPost {
  readonly action: string;
  readonly fields: readonly { readonly name: string; readonly value: string }[];
}

export interface FormPostPages {
  formPost(ctx: KoaContextWithOIDC, form: FormPost): void;
}

/** Adds the middleware to a provider; call it for each new provider. */
export function showFormPost(provider: Provider, pages: FormPostPages): void {
  provider.use(async (ctx, next) => {
    await next();
    const form = typeof ctx.body === 'string' && 'oidc' in ctx ? formIn(ctx.body) : undefined;
    if (form) pages.formPost(oidcContextOf(ctx), form);
  });
}

const PAGE = /<title>Submitting Callback<\/title>.*?<form method="post" action="([^"]*)">(.*?)<noscript>/s;
const FIELD = /<input type="hidden" name="([^"]*)" value="([^"]*)"\/>/g;

/** Parses the form of the library's page; `undefined` for any other page. */
export function formIn(html: string): FormPost | undefined {
  const [page, action = '', inputs = ''] = PAGE.exec(html) ?? [];
  if (page === undefined) return undefined;
  const fields = [...inputs.matchAll(FIELD)].map(([, name = '', value = '']) => ({ name, value: unescaped(value) }));
  return { action: unescaped(action), fields };
}

const CHARACTERS: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
};

/** Reverses the library's escaping, which covers only these five characters. */
function unescaped(text: string): string {
  return text.replaceAll(/&(?:amp|lt|gt|quot|#39);/g, (escaped) => CHARACTERS[escaped]!);
}
