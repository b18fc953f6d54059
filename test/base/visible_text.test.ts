import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { isVisible, replaceInvisible } from '../../src/base/visible_text.ts';

describe('a text that people write', () => {
  const accepted: Readonly<Record<string, string>> = {
    'a Persian name': 'علی\u200cرضا محمدی',
    'a Sinhala name': 'ශ්\u200dරී ජයවර්ධන',
    'a Malayalam name whose last letter has a virama': 'രാജന്\u200d',
    'a Bengali name with a joiner before the virama': 'র\u200d্যাচেল',
    'a Hindi name': 'विक्\u200dटर',
    'a joiner beside a vowel sign of two scripts': 'عَ\u200cلی',
    'a person of two emoji': 'Zoë 👩\u200d💻',
    'emoji with a colour of skin and of hair': '👩🏽\u200d🦰',
    'a flag of emoji': '🏳\uFE0F\u200d🌈 🏳\uFE0F\u200d⚧\uFE0F',
    'a Japanese name with a variation selector': '葛\u{E0100}城',
    'a variant of an ideograph': '\uFA19 \u795E\uFE00',
    'a Mongolian name with a variation selector': 'ᠪᠠᠶ\u180Bᠠᠷ',
    'a Khamti Shan letter with dots': '\u1000\uFE00',
    'an emoji or its text form': '⚡\uFE0F ❤\uFE0E ©\uFE0F',
    'a keycap': '1\uFE0F\u20E3',
    'a decomposed accent': 'Ame\u0301lie',
  };
  for (const [what, text] of Object.entries(accepted)) {
    it(`may be ${what} (FIELD-D1)`, () => assert.equal(isVisible(text), true));
  }

  const refused: Readonly<Record<string, string>> = {
    'a direction override': 'a\u202eb',
    'an embedded direction': 'علی \u2066b',
    'a direction mark': 'علی\u200f',
    'a zero-width space': 'a\u200bb',
    'a joiner between Latin letters': 'pay\u200dpal',
    'a non-joiner between Latin letters': 'pay\u200cpal',
    'a non-joiner at the end of a word': 'علی\u200c رضا',
    'a joiner at the beginning': '\u200dعلی',
    'two joiners': 'علی\u200c\u200cرضا',
    'a joiner between letters of two scripts': 'ع\u200ca',
    'a joiner between digits': '١\u200c٢',
    'a joiner after the last emoji': '👩\u200d',
    'a non-joiner between emoji': '👩\u200c💻',
    'tag characters': '🏴\u{E0067}\u{E0062}',
    'a soft hyphen': 'a\u00adb',
    'a filler': '\u3164',
    'a line separator': 'a\u2028b',
    'a byte order mark': 'a\ufeffb',
    'half a character': 'a\ud800',
    'a control character': 'a\u0007',
    'a selector after a Latin letter': 'Ad\uFE0Fmin',
    'an ideographic selector after a Latin letter': 'a\u{E0100}',
    'a Mongolian selector after a Latin letter': 'a\u180B',
    'a selector after an Arabic letter': 'ع\uFE00',
    'a selector after a digit alone': '1\uFE0F',
    'an emoji selector after an ideograph': '葛\uFE0F',
    'a selector at the beginning': '\uFE0F❤',
    'two selectors': '⚡\uFE0F\uFE0F',
    'two ideographic selectors': '葛\u{E0100}\u{E0101}',
    'a selector after a colour of skin': '👩🏽\uFE0F',
    'a selector after half a flag': '🇩\uFE0F',
    'a selector after a mark': '葛\u0301\u{E0100}',
  };
  for (const [what, text] of Object.entries(refused)) {
    it(`must not have ${what} (FIELD-D1)`, () => assert.equal(isVisible(text), false));
  }

  it('of hundreds of thousands of joiners is read in a moment (FIELD-D1)', () => {
    const began = performance.now();
    assert.equal(isVisible('ع\u200c'.repeat(200_000)), false);
    assert.equal(isVisible('ع\u200cع'.repeat(200_000)), true);
    assert.ok(performance.now() - began < 2_000);
  });

  it('costs the first request no compilation (FIELD-D1)', () => {
    const script =
      `const { isVisible } = await import(${JSON.stringify(new URL('../../src/base/visible_text.ts', import.meta.url).href)});` +
      `const began = process.cpuUsage(); isVisible('Ame\u0301lie'); isVisible('Zo\u00EB'); isVisible('\u0639\u200C\u0639');` +
      `const { user, system } = process.cpuUsage(began); console.log(user + system);`;
    const microseconds = [1, 2, 3].map(() =>
      Number(execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' })),
    );
    assert.ok(Math.min(...microseconds) < 5_000, microseconds.join());
  });

  it('shows what would be invisible, and keeps the joiners of its script (FIELD-D1)', () => {
    assert.equal(
      replaceInvisible('a\u202eb\u200d علی\u200cرضا', () => '?'),
      'a?b? علی\u200cرضا',
    );
  });
});
