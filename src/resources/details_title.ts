/** A title such as `Pay {amount.value} {amount.currency} to {payee}`: words, and the values that stand between them. */

const PLACEHOLDER = /\{([^{}]*)\}/g;

export function placeholdersOf(title: string): string[] {
  return [...title.matchAll(PLACEHOLDER)].map(([, name = '']) => name);
}

/** A piece of a title: words of an admin's, or a value that a client gave. */
export interface TitlePiece {
  readonly text: string;
  readonly isValue: boolean;
}

/** The title with the values of this detail; what the detail leaves out is said to be missing. */
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
