/** What an account can tell about its owner (OpenID Connect Core, 5.1), besides name and e-mail address. */
import { z } from 'zod';
import { invalid } from '../base/refusal.ts';

const line = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .regex(/^[^\p{Cc}\p{Cf}\p{Cs}]*$/u, 'must not contain control or invisible characters');

/** A postal address may have several lines. */
const lines = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .regex(/^(?:[^\p{Cc}\p{Cf}\p{Cs}]|\r?\n)*$/u, 'must not contain control or invisible characters');

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
    'must be a day such as 1815-12-10, or 0000-12-10 without the year, or a year alone',
  );

const zoneinfo = z.string().max(64).refine(isTimeZone, 'must be a time zone such as Europe/Berlin');
const locale = z.string().max(64).refine(isLanguage, 'must be a language tag such as de-CH (BCP 47)');

/** E.164, with the spaces that people put into it. */
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

/** The members in which a profile is like what it says on its scope's consent: claims of the scope `profile`. */
const ofProfile = {
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
  .strictObject({ ...ofProfile, ...others, address: z.strictObject(address).partial() })
  .partial()
  .refine(({ phone_number, phone_number_verified }) => phone_number !== undefined || !phone_number_verified, {
    path: ['phone_number_verified'],
    message: 'must be false or left out where there is no phone_number',
  });
export type Profile = z.output<typeof Profile>;

/** The claims of the scope `profile` that come from here. */
export const PROFILE_CLAIMS = Object.keys(ofProfile) as readonly (keyof typeof ofProfile)[];

/** The members of a profile, as a new account brings them. */
export const profileMembers = Profile.shape;

/** The same for a change (RFC 7396): `null` takes a member away, and an address changes member by member. */
export const profileChanges = {
  ...nullable({ ...ofProfile, ...others }),
  address: z.strictObject(nullable(address)).nullable().exactOptional(),
};
export type ProfileChange = z.output<z.ZodObject<typeof profileChanges>>;

/** The profile with the change applied. A new phone number counts as unverified unless the change says otherwise. */
export function changeProfile(profile: Profile, { address: itsAddress, ...members }: ProfileChange): Profile {
  const moved = members.phone_number !== undefined && members.phone_number !== profile.phone_number;
  const { address: before, ...rest } = profile;
  const after = itsAddress === null ? {} : merged(before ?? {}, itsAddress ?? {});
  return wholeProfile({
    ...merged({ ...rest, ...(moved && { phone_number_verified: undefined }) }, members),
    ...(Object.keys(after).length > 0 && { address: after }),
  });
}

/** What is right member by member may still be wrong as a whole. Throws `Refused`. */
export function wholeProfile(given: Readonly<Record<string, unknown>>): Profile {
  const { data, error } = Profile.safeParse(given);
  if (data) return data;
  const { path, message } = error.issues[0]!;
  throw invalid(`/${path.join('/')}`, message);
}

function merged<T extends object>(before: T, change: object): Partial<T> {
  const all = Object.entries({ ...before, ...change });
  return Object.fromEntries(all.filter(([, value]) => value !== null && value !== undefined)) as Partial<T>;
}

function nullable<T extends z.ZodRawShape>(shape: T) {
  const members = Object.entries(shape).map(([name, member]) => [
    name,
    (member as z.ZodType).nullable().exactOptional(),
  ]);
  return Object.fromEntries(members) as { [K in keyof T]: z.ZodExactOptional<z.ZodNullable<T[K]>> };
}

/** A date that the calendar has. */
function isDay(value: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(value)) return false;
  const day = new Date(`${value}T00:00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(value);
}

function isTimeZone(value: string): boolean {
  // Intl takes offsets too; the claim is a name of the time zone database
  return /^[A-Za-z]/.test(value) && canDo(() => new Intl.DateTimeFormat('en', { timeZone: value }));
}

function isLanguage(value: string): boolean {
  return canDo(() => Intl.getCanonicalLocales(value));
}

function canDo(work: () => unknown): boolean {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}
