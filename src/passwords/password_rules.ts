/**
 * The rules for new passwords (NIST SP 800-63B-4, 3.1.1): only the length and a blocklist matter, every character is
 * allowed, and a password is never cut. Passwords that were set under other rules stay valid.
 */
import { invalid } from '../base/refusal.ts';
import type { BreachedPasswords } from './breached_passwords.ts';
import { inOneForm, type CommonPasswords } from './common_passwords.ts';
import { lengthOf, LONGEST_PASSWORD } from './password_length.ts';
import { isPattern, repeatedPart, withoutEndings } from './predictable.ts';

/** A shorter word, such as a first name of three letters, is part of too many other words. */
const SHORTEST_WORD = 4;
/** What must be left of a password without the words that strangers can know, in letters and digits. */
const OWN_PART = 8;

export interface PasswordRulesSettings {
  readonly common: () => Promise<CommonPasswords>;
  /** `undefined`: no service is asked. */
  readonly breached: BreachedPasswords | undefined;
  readonly minLength: number;
  /** The words of this service and its organization, which each attacker tries. */
  readonly serviceWords: readonly string[];
}

/** The person whose password it is. */
export interface PasswordOwner {
  readonly email: string;
  readonly name: string | null;
}

export class PasswordRules {
  readonly #settings: PasswordRulesSettings;

  constructor(settings: PasswordRulesSettings) {
    this.#settings = settings;
  }

  /** Throws `Refused` for the member at `path`. */
  async require(password: string, owner: PasswordOwner, path = '/password'): Promise<void> {
    const objection = await this.objection(password, owner);
    if (objection !== undefined) throw invalid(path, objection);
  }

  /** Returns the end of a sentence that begins with ‘The password’; `undefined` if the rules allow it. */
  async objection(password: string, owner: PasswordOwner): Promise<string | undefined> {
    const length = lengthOf(password);
    if (length > LONGEST_PASSWORD) return `must not be longer than ${LONGEST_PASSWORD} characters`;
    const { minLength } = this.#settings;
    if (length < minLength) return `must have at least ${minLength} characters`;
    const text = inOneForm(password);
    if (isPattern(text)) return 'must not be a repetition or a sequence such as 123456789';
    if (await this.#isCommon(text))
      return 'must not be one that attackers try first; this one is on a list of common passwords';
    if (isMostlyOf(text, [...this.#settings.serviceWords, ...wordsOf(owner)]))
      return 'must not consist of your name, your e-mail address or words that belong to this service';
    if (await this.#settings.breached?.has(password.normalize('NFC')))
      return 'must be another one: this one was found in a data breach';
    return undefined;
  }

  get minLength(): number {
    return this.#settings.minLength;
  }

  /** Compares the whole password, and the word that it is made from by repetition, an ending, or signs in between. */
  async #isCommon(text: string): Promise<boolean> {
    const common = await this.#settings.common();
    const lettersAndDigits = text.replaceAll(/[^\p{L}\p{N}]+/gu, '');
    const forms = [text, withoutEndings(text), lettersAndDigits, withoutEndings(lettersAndDigits)];
    return forms.some((form) => common.has(form) || common.has(repeatedPart(form)));
  }
}

function wordsOf({ email, name }: PasswordOwner): string[] {
  return [email, ...email.split('@'), ...email.split(/[^\p{L}\p{N}]+/u), ...(name ?? '').split(/\s+/)];
}

/** Whether little is left of the text without the words. */
function isMostlyOf(text: string, words: readonly string[]): boolean {
  const longestFirst = words
    .map(inOneForm)
    .filter((word) => word.length >= SHORTEST_WORD)
    .toSorted((a, b) => b.length - a.length);
  const rest = longestFirst.reduce((left, word) => left.replaceAll(word, ' '), text);
  return rest !== text && rest.replaceAll(/[^\p{L}\p{N}]+/gu, '').length < OWN_PART;
}
