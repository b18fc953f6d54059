/** Titles of authorization details with placeholders, such as `Pay {amount.value} {amount.currency} to {payee}`. */

const PLACEHOLDER = /\{([^{}]*)\}/g;

export function placeholdersOf(title: string): string[] {
  return [...title.matchAll(PLACEHOLDER)].map(([, name = '']) => name);
}

/** A part of a title: text of an admin, or a value from a client. */
export interface TitlePiece {
  readonly text: string;
  readonly isValue: boolean;
}

/** Returns the title with the values of this detail; a missing value becomes a note that it is missing. */
export function fillTitle(title: string, detail: Readonly<Record<string, unknown>>): TitlePiece[] {
  return title
    .split(PLACEHOLDER)
    .map((text, index) => (index % 2 === 0 ? { text, isValue: false } : { text: valueAt(detail, text), isValue: true }))
    .filter(({ text }) => text !== '');
}

function valueAt(detail: Readonly<Record<string, unknown>>, path: string): string {
  let at: unknown = detail;
  for (const name of path.split('.')) {
    at =
      typeof at === 'object' && at !== null && Object.hasOwn(at, name)
        ? (at as Record<string, unknown>)[name]
        : undefined;
  }
  if (at === undefined) return '(not said)';
  return typeof at === 'string' ? at : JSON.stringify(at);
}
