/**
 * The texts of all pages. Each language has one catalogue with the same keys; English is the only one so far. In a text,
 * `{name}` is a value and `**` begins and ends what is printed bold.
 */
import { EN } from './en.ts';

export type Texts = typeof EN;

export const TEXTS: Texts = EN;

export type TextValues = Readonly<Record<string, string | number>>;

/** Returns the text with its values, as plain text for titles and attributes. */
export function fill(text: string, values: TextValues = {}): string {
  return text.replaceAll('**', '').replaceAll(/\{(\w+)\}/g, (_, name: string) => String(valueOf(values, name)));
}

/** Returns the text with its values as HTML. Values are escaped, and can't change the direction of the text beside. */
export function say(text: string, values: TextValues = {}): string {
  return escape(text)
    .replaceAll(/\*\*(.+?)\*\*/gs, '<strong>$1</strong>')
    .replaceAll(/\{(\w+)\}/g, (_, name: string) => `<bdi>${breakHost(escape(String(valueOf(values, name))))}</bdi>`);
}

function valueOf(values: TextValues, name: string): string | number {
  const value = values[name];
  if (value === undefined) throw new Error(`A text of a page needs the value '${name}'.`);
  return value;
}

/** Lets a host break after its dots, and nowhere else while it fits so. */
function breakHost(value: string): string {
  return /^[\w-]+(?:\.[\w-]+)+(?::\d+)?$/.test(value) ? value.replaceAll('.', '.<wbr>') : value;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}
