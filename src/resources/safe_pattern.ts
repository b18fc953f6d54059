/**
 * Regular expressions that can't be made to run for long by what they are matched with: from start to end a row of
 * characters and character classes, each with a bounded count, and few ways to divide a text among them. No groups, no
 * alternatives, nothing that looks ahead or back.
 */
const CLASS = String.raw`\[(?:[^\\\[\]]|\\[dws\\\]\[^-])+\]`;
const ATOM = String.raw`(?:[A-Za-z0-9 _@#%&=:;,'"/-]|\\[dws.+*?()[\]{}|^$\\/-]|${CLASS})`;
const COUNT = String.raw`(?:\{\d{1,4}(?:,\d{1,4})?\}|\?)?`;
const WHOLE = new RegExp(`^\\^(?:${ATOM}${COUNT}){1,50}\\$$`);

const LONGEST = 200;
/** So many ways to divide a text among the parts that may be longer or shorter. */
const WAYS_AT_MOST = 10_000;

/** What is wrong with the pattern, as the end of a sentence that it begins. */
export function objectionToPattern(pattern: string): string | undefined {
  if (pattern.length > LONGEST) return `must not be longer than ${LONGEST} characters`;
  if (!WHOLE.test(pattern)) {
    return String.raw`must go from ^ to $ in characters, escapes such as \d and classes such as [A-Z], each with a count such as {2} or {1,34}`;
  }
  const ways = [...pattern.matchAll(new RegExp(`${ATOM}(${COUNT})`, 'g'))]
    .map(([, count = '']) => spread(count))
    .reduce((product, one) => product * one, 1);
  return ways > WAYS_AT_MOST ? 'has too many parts of unfixed length' : undefined;
}

function spread(count: string): number {
  if (count === '?') return 2;
  const [least = 1, most = least] = [...count.matchAll(/\d+/g)].map(Number);
  return Math.max(1, most - least + 1);
}
