/** Texts that the pages show instead of protocol terms. */
import { isLoopback } from '../base/loopback.ts';
import type { Moment } from './pages.ts';
import type { AccessLifetime } from './login_context.ts';

/** Descriptions of standard claims (OpenID Connect Core, 5.1). */
const CLAIMS: Readonly<Record<string, string>> = {
  name: 'your name',
  given_name: 'your first name',
  family_name: 'your last name',
  middle_name: 'your middle name',
  nickname: 'your nickname',
  preferred_username: 'your user name',
  profile: 'the address of your profile page',
  picture: 'your picture',
  website: 'your website',
  email: 'your e-mail address',
  email_verified: 'whether your e-mail address has been verified',
  gender: 'your gender',
  birthdate: 'your birthday',
  zoneinfo: 'your time zone',
  locale: 'your language',
  phone_number: 'your phone number',
  phone_number_verified: 'whether your phone number has been verified',
  address: 'your postal address',
  updated_at: 'when these details last changed',
};

export function describeClaim(claim: string): string {
  return `See ${CLAIMS[claim] ?? `the detail ‘${claim}’ about you`}`;
}

/**
 * Why a logged-in person has to log in again, by the name of oidc-provider's check; the most important reason first.
 */
const REAUTHENTICATION_REASONS: readonly (readonly [reason: string, sentence: string])[] = [
  ['other_account', 'expects another account than the one you are logged in with.'],
  ['acr_values', 'asks for a stronger login than the one you have.'],
  ['max_age', 'asks for a login that is more recent than yours.'],
  ['login_prompt', 'asks you to confirm that it’s still you.'],
];

/** Returns the end of a sentence that begins with the application's name. */
export function describeLoginDemand(reasons: readonly string[]): string | undefined {
  return REAUTHENTICATION_REASONS.find(([reason]) => reasons.includes(reason))?.[1];
}

/** Whether the person must log in with another account. */
export function requiresOtherAccount(reasons: readonly string[]): boolean {
  return reasons.includes('other_account');
}

/**
 * Returns the destination of a redirect URI: the host of a website, or the program of an app on the person's device.
 */
export function describeDestination(redirectUri: unknown): string {
  const url = typeof redirectUri === 'string' ? URL.parse(redirectUri) : null;
  if (!url) return 'the application';
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    return `an app on this device (${url.protocol.slice(0, -1)})`;
  if (isLoopback(url.hostname)) return `a program on this computer (${url.host})`;
  return url.host;
}

/** Returns a waiting time such as ‘40 seconds’ or ‘3 minutes’, rounded up. */
export function describeWait(seconds: number): string {
  const [count, unit] = seconds <= 90 ? [seconds, 'second'] : [Math.ceil(seconds / 60), 'minute'];
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

/** Returns one sentence that says how long an application has access. */
export function describeAccess({ endsWith, seconds, unusedSeconds }: AccessLifetime): string {
  const most = describeDuration(seconds);
  switch (endsWith) {
    case 'grant': {
      const unused =
        unusedSeconds === undefined ? '' : `, and ends when it is unused for ${describeDuration(unusedSeconds)}`;
      return `The access lasts until you take it back, for ${most} at most${unused}.`;
    }
    case 'session':
      return `The access lasts until you log out or take it back, for ${most} at most.`;
    case 'token':
      return `The access lasts for ${most} at most.`;
  }
}

const UNITS = [
  [86_400, 'day'],
  [3_600, 'hour'],
  [60, 'minute'],
  [1, 'second'],
] as const;

/** Returns a time such as ‘90 days’ or ‘1 hour’, in the largest unit that fits, rounded up. */
function describeDuration(seconds: number): string {
  const [length, unit] = UNITS.find(([itsLength]) => seconds >= itsLength) ?? UNITS.at(-1)!;
  const count = Math.ceil(seconds / length);
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

const moment = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });

/** Formats a time in UTC with the word UTC: without a script, a page does not know the reader's time zone. */
export function describeMoment(time: Date): Moment {
  return { iso: time.toISOString(), words: `${moment.format(time)} UTC` };
}
