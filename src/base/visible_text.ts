/**
 * Text that people write and read, such as names. Invisible characters are refused, because two texts that look equal
 * could differ, and a direction override could make a text read as another one. The exceptions are the two joiners and
 * the variation selectors where writing needs them: names in Persian, Sinhala, Malayalam, Japanese, Mongolian and other
 * languages, and emoji, contain them (UAX 31, 2.3; RFC 5892, appendices A.1 and A.2; UTS 51, 2.3; UTS 37).
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

/** A joiner at the position. */
const JOINER = '[\\u200C\\u200D]';
const JOINERS = [
  `(?<=[${VIRAMAS}])${JOINER}`,
  '(?<=\\p{Extended_Pictographic}[\\uFE0F\\p{Emoji_Modifier}]?)\\u200D(?=\\p{Extended_Pictographic})',
].map(at);
const BETWEEN_LETTERS = at(`(?<=[\\p{L}\\p{M}])${JOINER}(?=[\\p{L}\\p{M}])`);
const WITHIN_SCRIPTS = SCRIPTS.map((script) => at(`(?<=\\p{scx=${script}})${JOINER}(?=\\p{scx=${script}})`));

/**
 * Where Unicode has variants (StandardizedVariants.txt, emoji-variation-sequences.txt, the Ideographic Variation
 * Database). A digit with a selector is part of a keycap.
 */
const SELECTORS = [
  '(?<=(?![\\p{ASCII}\\p{Emoji_Modifier}\\p{Regional_Indicator}])\\p{Emoji})[\\uFE0E\\uFE0F]',
  '(?<=[0-9#*])\\uFE0F(?=\\u20E3)',
  '(?<=\\p{Script=Han})[\\uFE00-\\uFE02\\u{E0100}-\\u{E01EF}]',
  '(?<=(?=\\p{L})[\\p{Script=Myanmar}\\p{Script=Phags_Pa}])\\uFE00',
  '(?<=(?=\\p{L})\\p{Script=Mongolian})[\\u180B-\\u180D\\u180F]',
].map(at);

/** Control and format characters, separators of lines, half characters, letters without a shape, selectors. */
const WITHOUT_SHAPE =
  /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\u034F\u115F\u1160\u17B4\u17B5\u2800\u3164\uFFA0\p{Variation_Selector}]/gu;

export const INVISIBLE_REFUSED = 'must not contain control or invisible characters';

/** Whether each character of the text can be seen, or changes the shape of one that can. */
export function isVisible(text: string): boolean {
  return text.matchAll(WITHOUT_SHAPE).every(({ 0: character, index }) => isInPlace(text, character, index));
}

/** Replaces each invisible character. */
export function replaceInvisible(text: string, replacement: (character: string) => string): string {
  return text.replaceAll(WITHOUT_SHAPE, (character, index: number) =>
    isInPlace(text, character, index) ? character : replacement(character),
  );
}

/** Whether the character is a joiner or selector that changes the shape of its neighbours. */
function isInPlace(text: string, character: string, index: number): boolean {
  const matches = (pattern: RegExp): boolean => {
    pattern.lastIndex = index;
    return pattern.test(text);
  };
  if (character === '\u200C' || character === '\u200D') {
    return JOINERS.some(matches) || (matches(BETWEEN_LETTERS) && WITHIN_SCRIPTS.some(matches));
  }
  return /\p{Variation_Selector}/u.test(character) && SELECTORS.some(matches);
}

/** Matches at `lastIndex` alone. */
function at(pattern: string): RegExp {
  return new RegExp(pattern, 'uy');
}

// the engine compiles a pattern at its first use, which takes milliseconds that no request should wait for
for (const text of ['a', '\u0639\u200C\u0639', '\u845B\uFE00']) isVisible(text);
for (const pattern of [...JOINERS, ...WITHIN_SCRIPTS, ...SELECTORS]) pattern.test('\u0639\u200C\u0639');
