/**
 * Text that people write and read, such as names. Invisible characters are refused, because two texts that look equal
 * could differ, and a direction override could make a text read as another one. The exception are the two joiners where
 * writing needs them: names in Persian, Sinhala, Malayalam and other languages, and emoji, contain them (UAX 31, 2.3;
 * RFC 5892, appendices A.1 and A.2; UTS 51, 2.3).
 */

/**
 * Scripts in which a joiner changes the shape of letters. Unicode's joining types, which RFC 5892 also demands, are not
 * in the regular expressions of ECMAScript.
 */
const SCRIPTS = [
  'Arabic',
  'Syriac',
  'Mongolian',
  'Nko',
  'Mandaic',
  'Adlam',
  'Hanifi_Rohingya',
  'Phags_Pa',
  'Devanagari',
  'Bengali',
  'Gurmukhi',
  'Gujarati',
  'Oriya',
  'Tamil',
  'Telugu',
  'Kannada',
  'Malayalam',
  'Sinhala',
  'Khmer',
  'Myanmar',
  'Tibetan',
  'Balinese',
  'Javanese',
  'Sundanese',
  'Grantha',
  'Newa',
  'Tirhuta',
  'Chakma',
];
/** Signs that remove the vowel of a letter in these scripts (viramas). The last letter of a name may have one. */
const VIRAMAS =
  String.raw`\u094D\u09CD\u0A4D\u0ACD\u0B4D\u0BCD\u0C4D\u0CCD\u0D3B\u0D3C\u0D4D\u0DCA\u0F84\u1039\u103A\u17D2
  \u1B44\u1BAA\u1BAB\uA9C0\u{1134D}\u{11442}\u{114C2}\u{11133}\u{11134}`.replaceAll(/\s+/g, '');

const betweenLetters = SCRIPTS.map((script) => {
  const letter = `(?=\\p{scx=${script}})[\\p{L}\\p{M}]`;
  return `(?<=${letter})[\\u200C\\u200D](?=${letter})`;
});
const JOINERS_IN_CONTEXT = [
  `(?<=[${VIRAMAS}])[\\u200C\\u200D]`,
  '(?<=\\p{Extended_Pictographic}[\\uFE0F\\p{Emoji_Modifier}]?)\\u200D(?=\\p{Extended_Pictographic})',
  ...betweenLetters,
].join('|');

/** Control and format characters, separators of lines, half characters, and letters that have no shape. */
const WITHOUT_SHAPE = '[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\p{Cs}\\u034F\\u115F\\u1160\\u17B4\\u17B5\\u2800\\u3164\\uFFA0]';

/** An invisible character, also a joiner where no script needs it. */
const INVISIBLE = `(?!${JOINERS_IN_CONTEXT})${WITHOUT_SHAPE}`;
const ANY_INVISIBLE = new RegExp(INVISIBLE, 'u');
const EVERY_INVISIBLE = new RegExp(INVISIBLE, 'gu');

export const INVISIBLE_REFUSED = 'must not contain control or invisible characters';

/** Whether each character of the text can be seen, or joins two that can. */
export function isVisible(text: string): boolean {
  return !ANY_INVISIBLE.test(text);
}

/** Replaces each invisible character. */
export function replaceInvisible(text: string, replacement: (character: string) => string): string {
  return text.replaceAll(EVERY_INVISIBLE, replacement);
}
