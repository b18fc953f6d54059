/**
 * The security headers of all pages. Two are omitted on purpose:
 * - `form-action`: Chromium applies it to every redirect after a form, so a login would stop at the
 *   application's redirect URI, or one redirect later;
 * - `Cross-Origin-Opener-Policy`: any value except `unsafe-none` disconnects the page from the window that opened it,
 *   so applications that log people in with a popup would never get a result.
 */
import { createHash } from 'node:crypto';
import type { Context, Middleware } from 'koa';

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "style-src 'self'",
  "img-src 'self'",
  "font-src 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  // Empty, which allows no script. `allowScript` adds the hash of our only inline script, `allowScriptFiles` the URLs of
  // files of ours, and oidc-provider adds hashes on those of its pages that we replace; a hash next to 'none' would be an
  // error.
  'script-src',
].join('; ');

const PAGE_HEADERS = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  // not `no-referrer`: browsers would then send `Origin: null` with our own forms, and we check that header
  'Referrer-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Permissions-Policy': 'camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()',
} as const;

/** Sets the page headers for the next middleware, in case it sends a page of its own. */
export const pageHeaders: Middleware = (ctx, next) => {
  ctx.set(PAGE_HEADERS);
  return next();
};

/** Sends a page that no cache may store. */
export function sendPage(ctx: Context, status: number, html: string): void {
  ctx.set(PAGE_HEADERS);
  ctx.set('Cache-Control', 'no-store');
  ctx.status = status;
  ctx.type = 'html';
  ctx.body = html;
}

/** Allows the scripts at these URLs, and no others, on the page that was sent. */
export function allowScriptFiles(ctx: Context, urls: readonly string[]): void {
  const sources = ['script-src', ...urls].join(' ');
  ctx.set('Content-Security-Policy', CONTENT_SECURITY_POLICY.replace('script-src', sources));
}

/** Allows this script, and no other, on the page that was sent. */
export function allowScript(ctx: Context, script: string): void {
  const hash = createHash('sha256').update(script).digest('base64');
  ctx.set('Content-Security-Policy', CONTENT_SECURITY_POLICY.replace('script-src', `script-src 'sha256-${hash}'`));
}
