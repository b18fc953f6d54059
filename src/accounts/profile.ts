/** The profile of an account: standard claims (OpenID Connect Core, 5.1) besides name and email address. */
import { z } from 'zod';
import { invalid } from '../base/refusal.ts';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';

const line = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .refine(isVisible, INVISIBLE_REFUSED);

/** Text with line breaks, for postal addresses. */
const lines = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .refine((value) => isVisible(value.replaceAll(/\r?\n/g, ' ')), INVISIBLE_REFUSED);

const webUrl = z
  .string()
  .max(2_000, 'must not be longer than 2000 characters')
  .refine(
    (value) => /^https?:\/\/[\x21-\x7e]+$/.test(value) && URL.canParse(value) && !new URL(value).username,
    'must be an https or http URL',
  );

const birthdate = z
  .string()
  .refine(
    (value) => /^\d{4}$/.test(value) || isDay(value.replace(/^0000/, '2000')),
    'must be a date such as 1815-12-10, 0000-12-10 (without the year), or 1815 (only the year)',
  );

const zoneinfo = z.string().max(64).refine(isTimeZone, 'must be a time zone such as Europe/Berlin');
const locale = z.string().max(64).refine(isLanguage, 'must be a language tag such as de-CH (BCP 47)');

/** E.164, with spaces and other separators. */
const phoneNumber = z
  .string()
  .regex(
    /^\+[1-9][0-9 ().-]{2,30}(;ext=\d{1,10})?$/,
    'must be written with its country code, such as +49 30 1234567 (E.164)',
  );

const address = {
  formatted: lines(500),
  street_address: lines(200),
  locality: line(100),
  region: line(100),
  postal_code: line(30),
  country: line(100),
};

/** The claims of the scope `profile`. */
const profileClaims = {
  given_name: line(200),
  family_name: line(200),
  middle_name: line(200),
  nickname: line(200),
  preferred_username: line(200),
  profile: webUrl,
  picture: webUrl,
  website: webUrl,
  gender: line(60),
  birthdate,
  zoneinfo,
  locale,
};

const others = { phone_number: phoneNumber, phone_number_verified: z.boolean() };

const Profile = z
  .strictObject({ ...profileClaims, ...others, address: z.strictObject(address).partial() })
  .partial()
  .refine(({ phone_number, phone_number_verified }) => phone_number !== undefined || !phone_number_verified, {
    path: ['phone_number_verified'],
    message: 'must be false or absent without phone_number',
  });
export type Profile = z.output<typeof Profile>;

/** The names of the claims of the scope `profile` that a profile contains. */
export const PROFILE_CLAIMS = Object.keys(profileClaims) as readonly (keyof typeof profileClaims)[];

/** The profile members in the request that creates an account. */
export const profileMembers = Profile.shape;

/**
 * The profile members in a JSON merge patch (RFC 7396): `null` removes a member, and an address changes member by
 * member.
 */
export const profileChanges = {
  ...nullable({ ...profileClaims, ...others }),
  address: z.strictObject(nullable(address)).nullable().exactOptional(),
};
export type ProfileChange = z.output<z.ZodObject<typeof profileChanges>>;

/** Returns the profile after the change. A new phone number counts as unverified unless the change says otherwise. */
export function changeProfile(profile: Profile, { address: itsAddress, ...members }: ProfileChange): Profile {
  const moved = members.phone_number !== undefined && members.phone_number !== profile.phone_number;
  const { address: before, ...rest } = profile;
  const after = itsAddress === null ? {} : merged(before ?? {}, itsAddress ?? {});
  return validateProfile({
    ...merged({ ...rest, ...(moved && { phone_number_verified: undefined }) }, members),
    ...(Object.keys(after).length > 0 && { address: after }),
  });
}

/** Validates the profile as a whole, beyond its single members. Throws `Refused`. */
export function validateProfile(given: Readonly<Record<string, unknown>>): Profile {
  const { data, error } = Profile.safeParse(given);
  if (data) return data;
  const { path, message } = error.issues[0]!;
  throw invalid(`/${path.join('/')}`, message);
}

function merged<T extends object>(before: T, patch: object): Partial<T> {
  const all = Object.entries({ ...before, ...patch });
  return Object.fromEntries(all.filter(([, value]) => value !== null && value !== undefined)) as Partial<T>;
}

function nullable<T extends z.ZodRawShape>(shape: T) {
  const members = Object.entries(shape).map(([name, member]) => [
    name,
    (member as z.ZodType).nullable().exactOptional(),
  ]);
  return Object.fromEntries(members) as { [K in keyof T]: z.ZodExactOptional<z.ZodNullable<T[K]>> };
}

/** Whether the text is a valid calendar date. */
function isDay(value: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(value)) return false;
  const day = new Date(`${value}T00:00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(value);
}

function isTimeZone(value: string): boolean {
  // Intl also accepts offsets, but the claim must be a name of the time zone database
  return /^[A-Za-z]/.test(value) && succeeds(() => new Intl.DateTimeFormat('en', { timeZone: value }));
}

function isLanguage(value: string): boolean {
  return succeeds(() => Intl.getCanonicalLocales(value));
}

function succeeds(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch {
    return false;
  }
}
