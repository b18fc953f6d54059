/**
 * Answers that go to the application by POST (OAuth 2.0 Form Post Response Mode). The library writes a page of its own
 * for them, in several places and with no way to put another one there: so what it wrote is read, and our page shown.
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

/** Call it for each provider that is built. */
export function showFormPost(provider: Provider, pages: FormPostPages): void {
  provider.use(async (ctx, next) => {
    await next();
    const form = typeof ctx.body === 'string' && 'oidc' in ctx ? formIn(ctx.body) : undefined;
    if (form) pages.formPost(oidcContextOf(ctx), form);
  });
}

const PAGE = /<title>Submitting Callback<\/title>.*?<form method="post" action="([^"]*)">(.*?)<noscript>/s;
const FIELD = /<input type="hidden" name="([^"]*)" value="([^"]*)"\/>/g;

/** The form of a page that the library wrote; `undefined` for any other page. */
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

/** The library escapes these five, and no others. */
function unescaped(text: string): string {
  return text.replaceAll(/&(?:amp|lt|gt|quot|#39);/g, (escaped) => CHARACTERS[escaped]!);
}
