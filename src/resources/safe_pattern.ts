/**
 * Validates regular expressions so that no input can make them run for long: a sequence of characters and character
 * classes from start to end, each with a bounded count, and few ways to match a text. No groups, alternatives,
 * lookahead or lookbehind.
 */
const CLASS = String.raw`\[(?:[^\\\[\]]|\\[dws\\\]\[^-])+\]`;
const ATOM = String.raw`(?:[A-Za-z0-9 _@#%&=:;,'"/-]|\\[dws.+*?()[\]{}|^$\\/-]|${CLASS})`;
const COUNT = String.raw`(?:\{\d{1,4}(?:,\d{1,4})?\}|\?)?`;
const WHOLE = new RegExp(`^\\^(?:${ATOM}${COUNT}){1,50}\\$$`);

const LONGEST = 200;
/** Maximum number of ways to divide a text among the parts of variable length. */
const WAYS_AT_MOST = 10_000;

/** Returns the error of a pattern, as a text that follows its path; `undefined` if it is valid. */
export function objectionToPattern(pattern: string): string | undefined {
  if (pattern.length > LONGEST) return `must not be longer than ${LONGEST} characters`;
  if (!WHOLE.test(pattern)) {
    return String.raw`must begin with ^, end with $, and consist of characters, escapes such as \d and classes such as [A-Z], each with an optional count such as {2} or {1,34}`;
  }
  const ways = [...pattern.matchAll(new RegExp(`${ATOM}(${COUNT})`, 'g'))]
    .map(([, count = '']) => spread(count))
    .reduce((product, one) => product * one, 1);
  return ways > WAYS_AT_MOST ? 'has too many parts of variable length' : undefined;
}

function spread(count: string): number {
  if (count === '?') return 2;
  const [least = 1, most = least] = [...count.matchAll(/\d+/g)].map(Number);
  return Math.max(1, most - least + 1);
}
