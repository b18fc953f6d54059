/**
 * The characters of an `error_description`: printable ASCII without quote and backslash (RFC 6749, 5.2; RFC 6750, 3).
 * Texts of this server have no others (test/project/error_descriptions.test.ts); a text may repeat what a client sent.
 */
const OTHERS = /[^\x20\x21\x23-\x5B\x5D-\x7E]/gu;

const ALIKE: Readonly<Record<string, string>> = {
  '"': "'",
  '\\': '/',
  '\t': ' ',
  '\n': ' ',
  '\u00A0': ' ',
  '\u2018': "'",
  '\u2019': "'",
  '\u201C': "'",
  '\u201D': "'",
  '\u2013': '-',
  '\u2014': '-',
  '\u2026': '...',
};

/** Writes every other character as one that looks alike, or as its code point (`U+00E9`). */
export function toErrorDescription(text: string): string {
  return text.replaceAll(
    OTHERS,
    (other) => ALIKE[other] ?? `U+${other.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`,
  );
}
