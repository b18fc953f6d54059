/** The types of values of variables, each with a message that describes the expected value to an operator. */
import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { EMAIL_ADDRESS } from '../base/email_address.ts';
import { isLoopback } from '../base/loopback.ts';
import { RESPONSE_MODES, type ResponseMode } from '../base/response_modes.ts';

export const optionalWhole = (minimum: number, maximum: number) => {
  const sentence = `must be a whole number from ${minimum} to ${maximum}`;
  return z
    .string()
    .regex(/^\d+$/, sentence)
    .transform(Number)
    .refine((n) => n >= minimum && n <= maximum, sentence)
    .optional();
};

export const whole = (minimum: number, maximum: number, fallback: number) =>
  optionalWhole(minimum, maximum).transform((given) => given ?? fallback);

export const port = z
  .string()
  .regex(/^\d+$/, 'must be a port number from 1 to 65535')
  .transform(Number)
  .refine((n) => n >= 1 && n <= 65_535, 'must be a port number from 1 to 65535');

const WORKERS_AT_MOST = 128;
/** `auto`: one for each core that this process may use, limited by affinity or by a container's CPU share. */
export const workers = z
  .string()
  .regex(/^(auto|\d+)$/, `must be auto or a whole number from 1 to ${WORKERS_AT_MOST}`)
  .transform((text) => (text === 'auto' ? Math.min(availableParallelism(), WORKERS_AT_MOST) : Number(text)))
  .refine((n) => n >= 1 && n <= WORKERS_AT_MOST, `must be auto or a whole number from 1 to ${WORKERS_AT_MOST}`)
  .prefault('1');

export const flag = z
  .enum(['true', 'false'], 'must be true or false')
  .default('false')
  .transform((text) => text === 'true');

export const responseModes = z
  .string()
  .transform(listed)
  .refine(
    (all) => all.length > 0 && new Set(all).size === all.length && all.every(isResponseMode),
    `must list response modes, each once: ${RESPONSE_MODES.join(', ')}`,
  )
  .transform((all) => all.filter(isResponseMode))
  .prefault(RESPONSE_MODES.join(','));

const PASSWORD_WORDS_AT_MOST = 200;

/** Words that are no part of a password by themselves: `PasswordRules` says how they are compared. */
export const passwordWords = z
  .string()
  .transform(listed)
  .refine(
    (words) =>
      words.length <= PASSWORD_WORDS_AT_MOST && words.every((word) => /^[\p{L}\p{N}][^\p{C}]{3,63}$/u.test(word)),
    `must list at most ${PASSWORD_WORDS_AT_MOST} words of 4 to 64 characters, separated by commas`,
  )
  .prefault('');

export const masterKey = z.string().transform((text, context) => {
  const bytes = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64');
  const canonical = /^[0-9a-f]{64}$/i.test(text) || /^[A-Za-z0-9+/_-]{43}=?$/.test(text);
  if (bytes.length === 32 && canonical && !bytes.every((byte) => byte === bytes[0])) return bytes;
  context.addIssue('must be 32 random bytes in base64 or hex; make one with: openssl rand -base64 32');
  return z.NEVER;
});

export const issuer = z.string().transform((text, context) => {
  const url = URL.parse(text);
  // a lone `?` or `#` is visible only in the text, not in the parsed URL's parts
  const plain = url && !/[?#]/.test(text) && !url.username && !url.password;
  if (!plain || !/^https?:$/.test(url.protocol)) {
    context.addIssue('must be an absolute URL without query, fragment or user, such as https://id.example.com');
    return z.NEVER;
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    context.addIssue('must use https; plain http is for a loopback address during development only');
    return z.NEVER;
  }
  return url.href.replace(/\/+$/, '');
});

/** The URL before the five digits of a range search for breached passwords. */
export const rangeSearch = z
  .string()
  .refine(
    (text) => /^https?:\/\/[^?#@]+$/.test(text) && URL.canParse(text),
    'must be a URL without query, fragment or user, such as https://api.pwnedpasswords.com/range',
  )
  .transform((text) => text.replace(/\/+$/, ''));

export const smtpUrl = z
  .string()
  .refine(
    isSmtpUrl,
    'must look like smtp://user:password@mail.example.com:587 or smtps://mail.example.com; ?starttls=never is for a server without TLS on a private network, and not for one with a password',
  );

/** `Name <local@domain>` or the address alone. */
export const mailbox = z
  .string()
  .refine(
    (text) => EMAIL_ADDRESS.test(/^[^<>"\p{Cc}]{0,100}<([^<>]+)>$/u.exec(text)?.[1] ?? text),
    'must be an e-mail address, such as Example <no-reply@example.com>',
  );

export const databaseUrl = z
  .string()
  .refine(
    (text) => /^postgres(ql)?:$/.test(URL.parse(text)?.protocol ?? ''),
    'must look like postgres://user:password@host:5432/database',
  );

export const networks = z
  .string()
  .transform(listed)
  .refine((all) => all.every(isNetwork), 'must list addresses and networks, such as 10.0.0.7, 10.1.0.0/16')
  .prefault('');

export const origins = z
  .string()
  .transform(listed)
  .refine(
    (all) => all.every(isOrigin),
    'must list scheme, host and port, such as https://keys.internal.example:8443, http://127.0.0.1:9400',
  )
  .transform((all) => all.map((text) => new URL(text).origin))
  .prefault('');

export const domainName = z
  .string()
  .max(253)
  .regex(
    /^(?!.*\.\d+$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/,
    'must be a domain name in lower case, such as example.com',
  );

export const headerName = z
  .string()
  .regex(/^[A-Za-z0-9-]{1,64}$/, 'must be the name of a header, such as Client-Cert')
  .refine(
    (name) => !/^(authorization|cookie|dpop|host|forwarded|x-forwarded-.*|content-.*)$/i.test(name),
    'must not be a header that has another meaning',
  )
  .transform((name) => name.toLowerCase());

function isResponseMode(text: string): text is ResponseMode {
  return (RESPONSE_MODES as readonly string[]).includes(text);
}

function listed(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean);
}

function isSmtpUrl(text: string): boolean {
  const url = URL.parse(text);
  if (!url || !/^smtps?:$/.test(url.protocol) || url.hostname === '' || !/^\/?$/.test(url.pathname) || url.hash !== '')
    return false;
  if (/%(?![0-9a-f]{2})/i.test(url.username + url.password)) return false;
  if (url.search === '') return true;
  return url.search === '?starttls=never' && url.protocol === 'smtp:' && url.username === '' && url.password === '';
}

/** Scheme, host and port only: no path, no user, no wildcard. */
function isOrigin(text: string): boolean {
  return /^https?:\/\/[^\s/\\?#@*%]+\/?$/i.test(text) && URL.canParse(text);
}

/** `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`. */
function isNetwork(text: string): boolean {
  const [address = '', bits = '0', ...more] = text.split('/');
  const longest = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return more.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= longest;
}
