/** Metadata member for pages of other origins that call this server for the client (CORS). */
import { z } from 'zod';
import type { Check } from './check.ts';

const FORBIDDEN_SCHEME = /^(javascript|vbscript|data|blob|file|about|ftp|ws|wss):/;
const LOOPBACK = /^http:\/\/(localhost|\[::1\]|127(\.\d{1,3}){3})(:\d+)?$/;
/** The origin of a page that an app shows in a web view, such as `capacitor://localhost`. */
const APP_ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9]\d{0,4})?$/;

/** Returns why the origin is not allowed, as a text that follows its path; `undefined` if it is allowed. */
function objectionToOrigin(origin: string): string | undefined {
  if (origin.includes('*')) return 'must not contain a wildcard; name each origin';
  if (FORBIDDEN_SCHEME.test(origin)) return `must not use the scheme ${origin.slice(0, origin.indexOf(':'))}`;
  const url = URL.parse(origin);
  if (url?.protocol === 'https:' || url?.protocol === 'http:') {
    if (url.origin !== origin) return `must be an origin in its normal form, ${url.origin}`;
    if (url.protocol === 'http:' && !LOOPBACK.test(origin)) return 'must use https, unless it is a loopback address';
    return undefined;
  }
  return APP_ORIGIN.test(origin)
    ? undefined
    : 'must be an origin: scheme, host and port, such as https://app.example.com';
}

export const corsOrigins = {
  allowed_cors_origins: z
    .array(
      z
        .string()
        .max(300, 'must not be longer than 300 characters')
        .superRefine((origin, context) => {
          const objection = objectionToOrigin(origin);
          if (objection) context.addIssue({ code: 'custom', message: objection });
        }),
    )
    .max(20, 'must not name more than 20 origins')
    .refine((all) => new Set(all).size === all.length, 'must not name an origin twice')
    .optional()
    .describe(
      'Origins, besides those of redirect_uris, whose pages may call this server as the client and read the answers (CORS): web views of apps, single-page applications with redirect URIs on another origin. Only admins can set it.',
    ),
};

export const checkCorsOrigins: Check<typeof corsOrigins> = (client, object) => {
  if (client.allowed_cors_origins?.length && client.token_endpoint_auth_method !== 'none') {
    object(
      ['allowed_cors_origins'],
      'is only allowed for public clients (token_endpoint_auth_method none): a page cannot keep a secret',
    );
  }
};
