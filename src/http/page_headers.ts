/**
 * The security headers of whatever a browser may show. Left out on purpose:
 * - `form-action`: Chromium applies it to every redirect that follows a form, so a login would stop at the
 *   application's redirect URI, or one redirect later;
 * - `Cross-Origin-Opener-Policy`: any value but `unsafe-none` cuts the tie to the window that opened us, and
 *   applications that log people in in a popup would never hear from it.
 */
import { createHash } from 'node:crypto';
import type { Context, Middleware } from 'koa';

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "style-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  // Empty, which allows nothing: `allowScript` adds the hash of the one script that there is, and so does oidc-provider
  // to the pages of its own that we replace; beside 'none' a hash would be an error.
  'script-src',
].join('; ');

const PAGE_HEADERS = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  // not `no-referrer`: with it browsers send `Origin: null` with our own forms, and where a form came from is checked
  'Referrer-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Permissions-Policy': 'camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()',
} as const;

/** For whatever comes after it, should it write a page of its own. */
export const pageHeaders: Middleware = (ctx, next) => {
  ctx.set(PAGE_HEADERS);
  return next();
};

/** Answers with a page, which nobody keeps: neither the browser's cache nor one on the way. */
export function sendPage(ctx: Context, status: number, html: string): void {
  ctx.set(PAGE_HEADERS);
  ctx.set('Cache-Control', 'no-store');
  ctx.status = status;
  ctx.type = 'html';
  ctx.body = html;
}

/** Lets this one script of ours run on the page that was sent, and no other. */
export function allowScript(ctx: Context, script: string): void {
  const hash = createHash('sha256').update(script).digest('base64');
  ctx.set('Content-Security-Policy', CONTENT_SECURITY_POLICY.replace('script-src', `script-src 'sha256-${hash}'`));
}
