/** The forms of a page, as their person sends them. */

/** A field of a form and the values that it may have. */
export type Field = readonly [name: string, values: readonly string[]];
export type Form = readonly Field[];
/** By the path of their action, with `{uid}` in place of the id of a login. A page may have several for one path. */
export type Forms = ReadonlyMap<string, readonly Form[]>;

/** The field of a form of passkeys that has the options for the authenticator. */
export const PASSKEY_OPTIONS = 'data-options';

/** Returns the forms of a page that was read at `url`. */
export function formsOf(page: string, url: string): Forms {
  const forms = new Map<string, Form[]>();
  for (const [, action = '', attributes = '', content = ''] of page.matchAll(FORM)) {
    const fields = [...content.matchAll(/<(?:input|button)\b([^>]*)>/g)].flatMap(
      ([, field = '']): [string, string][] => {
        const name = attribute(field, 'name');
        return name === undefined ? [] : [[name, attribute(field, 'value') ?? '']];
      },
    );
    const options = attribute(attributes, PASSKEY_OPTIONS);
    if (options !== undefined) fields.push([PASSKEY_OPTIONS, options]);
    const path = new URL(unescaped(action), url).pathname.replace(/^(\/interaction|\/device)\/[\w-]+/, '$1/{uid}');
    forms.set(path, [...(forms.get(path) ?? []), joined(fields)]);
  }
  return forms;
}

/** The first value of each field. */
export function valuesOf(form: Form = []): Record<string, string> {
  return Object.fromEntries(form.map(([name, [value = '']]) => [name, value]));
}

const FORM = /<form [^>]*action="([^"]*)"([^>]*)>(.*?)<\/form>/gs;

/** A field that a form has several times, such as buttons, may have each of their values. */
function joined(fields: readonly (readonly [string, string])[]): Form {
  const values = new Map<string, string[]>();
  for (const [name, value] of fields) values.set(name, [...(values.get(name) ?? []), value]);
  return [...values];
}

function attribute(text: string, name: string): string | undefined {
  const value = new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(text)?.[1];
  return value === undefined ? undefined : unescaped(value);
}

function unescaped(text: string): string {
  const characters: Readonly<Record<string, string>> = { quot: '"', '#39': "'", lt: '<', gt: '>', amp: '&' };
  return text.replaceAll(/&(quot|#39|lt|gt|amp);/g, (_, name: string) => characters[name]!);
}
