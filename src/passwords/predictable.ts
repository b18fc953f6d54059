/** Finds the pattern of a predictable password: a repetition, a sequence, or a word with an ending such as `2026!`. */

/** Sequences that people type: the alphabet, the digits, and the rows and columns of keyboards. */
const SEQUENCES = [
  'abcdefghijklmnopqrstuvwxyz',
  '01234567890',
  'qwertyuiop',
  'qwertzuiop',
  'azertyuiop',
  'asdfghjkl',
  'qsdfghjklm',
  'zxcvbnm',
  'yxcvbnm',
  '1qaz2wsx3edc4rfv5tgb6yhn7ujm',
  '!@#$%^&*()',
];
/** Each two characters that follow each other in a sequence, in both directions. */
const NEIGHBOURS: ReadonlySet<string> = new Set(
  SEQUENCES.flatMap((sequence) =>
    Array.from(sequence.slice(1), (character, index) => [sequence[index]!, character]).flatMap(([first, second]) => [
      `${first}${second}`,
      `${second}${first}`,
    ]),
  ),
);

const SHORTEST_RUN = 5;
const FEWEST_CHARACTERS = 4;
/** A shorter part is easy to guess, however often it is repeated. */
const SHORTEST_PART = 8;
const SHORT_ENDING = 4;

/** Whether the text is a repetition of a short part, consists of few different characters, or of long sequences. */
export function isPattern(text: string): boolean {
  const part = repeatedPart(text);
  if (part !== text && part.length < SHORTEST_PART) return true;
  return new Set(text).size < FEWEST_CHARACTERS || consistsOfSequences(text);
}

/** Returns the shortest part whose repetition, the last time perhaps cut, is the text; the text itself if none is. */
export function repeatedPart(text: string): string {
  for (let length = 1; length <= text.length / 2; length++) {
    const part = text.slice(0, length);
    if (part.repeat(Math.ceil(text.length / length)).startsWith(text)) return part;
  }
  return text;
}

/** Removes digits and signs before and after the text, if they are few or a pattern themselves. */
export function withoutEndings(text: string): string {
  const [before = ''] = /^[^\p{L}]*/u.exec(text) ?? [];
  const [after = ''] = /[^\p{L}]*$/u.exec(text.slice(before.length)) ?? [];
  return text.slice(isWeak(before) ? before.length : 0, isWeak(after) ? text.length - after.length : text.length);
}

function isWeak(ending: string): boolean {
  return ending.length <= SHORT_ENDING || isPattern(ending);
}

function consistsOfSequences(text: string): boolean {
  let runs = text.length === 0 ? 0 : 1;
  for (let at = 1; at < text.length; at++) {
    const [before, character] = [text[at - 1]!, text[at]!];
    if (before !== character && !NEIGHBOURS.has(before + character)) runs++;
  }
  return runs * SHORTEST_RUN <= text.length;
}
