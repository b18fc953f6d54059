/** Puts values of the server into words: times, durations, claims, destinations. */
import { isLoopback } from '../base/loopback.ts';
import type { Moment } from './page_parts.ts';
import type { AccessLifetime } from './login_context.ts';
import { fill, TEXTS } from './texts/texts.ts';

/** Describes a standard claim (OpenID Connect Core, 5.1). */
export function describeClaim(claim: string): string {
  const { claims, otherClaim } = TEXTS.permissions;
  const known = Object.hasOwn(claims, claim) ? claims[claim as keyof typeof claims] : undefined;
  return fill(TEXTS.permissions.claim, { claim: known ?? fill(otherClaim, { claim }) });
}

/**
 * Why a logged-in person has to log in again, by the name of oidc-provider's check; the most important reason first.
 */
const REAUTHENTICATION_REASONS = ['other_account', 'acr_values', 'max_age', 'login_prompt'] as const;

/** Returns the sentence with the most important reason. */
export function describeLoginDemand(reasons: readonly string[], application: string): string | undefined {
  const reason = REAUTHENTICATION_REASONS.find((one) => reasons.includes(one));
  return reason && fill(TEXTS.login.demands[reason], { application });
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
  if (!url) return TEXTS.theApplication;
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    return fill(TEXTS.thisDeviceApp, { name: url.protocol.slice(0, -1) });
  if (isLoopback(url.hostname)) return fill(TEXTS.thisComputer, { host: url.host });
  return url.host;
}

/** Returns a waiting time such as ‘40 seconds’ or ‘3 minutes’, rounded up. */
export function describeWait(seconds: number): string {
  return seconds <= 90 ? duration(seconds, 'second') : duration(Math.ceil(seconds / 60), 'minute');
}

/** Returns one sentence that says how long an application has access. */
export function describeAccess({ endsWith, seconds, unusedSeconds }: AccessLifetime): string {
  const most = describeDuration(seconds);
  if (endsWith !== 'grant' || unusedSeconds === undefined) return fill(TEXTS.access[endsWith], { most });
  return fill(TEXTS.access.grantUnused, { most, unused: describeDuration(unusedSeconds) });
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
  return duration(Math.ceil(seconds / length), unit);
}

function duration(count: number, unit: 'day' | 'hour' | 'minute' | 'second'): string {
  return new Intl.NumberFormat(TEXTS.locale, { style: 'unit', unit, unitDisplay: 'long' }).format(count);
}

const moment = new Intl.DateTimeFormat(TEXTS.locale, { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });
const day = new Intl.DateTimeFormat(TEXTS.locale, { dateStyle: 'long', timeZone: 'UTC' });
const clockTime = new Intl.DateTimeFormat(TEXTS.locale, { timeStyle: 'short', timeZone: 'UTC' });
const age = new Intl.RelativeTimeFormat(TEXTS.locale, { numeric: 'auto' });

/** Formats a time in UTC with the word UTC: without a script, a page does not know the reader's time zone. */
export function describeMoment(time: Date): Moment {
  return { iso: time.toISOString(), words: `${moment.format(time)} UTC` };
}

/** Formats the day of a time, in UTC. */
export function describeDay(time: Date): Moment {
  return { iso: time.toISOString().slice(0, 10), words: day.format(time) };
}

/** Formats the time of day, in UTC. */
export function describeTime(time: Date): Moment {
  return { iso: time.toISOString(), words: `${clockTime.format(time)} UTC` };
}

/** Returns how long ago a time was, such as ‘2 hours ago’. */
export function describeAge(time: Date, now: Date): Moment {
  const seconds = Math.max(0, (now.getTime() - time.getTime()) / 1000);
  const [length, unit] = UNITS.find(([itsLength]) => seconds >= itsLength) ?? UNITS.at(-1)!;
  return { iso: time.toISOString(), words: age.format(-Math.floor(seconds / length), unit) };
}

/** Returns the text for a number of things. */
export function describeCount(texts: { readonly one: string; readonly other: string }, count: number): string {
  const plural = new Intl.PluralRules(TEXTS.locale).select(count);
  return fill(plural === 'one' ? texts.one : texts.other, { count });
}

/** Returns one or two letters that stand for a person: of the name, or else of the address. */
export function initialsOf(name: string | null | undefined, email: string): string {
  const words = (name ?? '').split(/[\s.-]+/u).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  const chosen = words.length > 1 ? [words[0]!, words.at(-1)!] : [words[0] ?? email];
  return chosen.map((word) => /./su.exec(word)![0].toLocaleUpperCase(TEXTS.locale)).join('');
}
