/** The page at the issuer's URL and, in development, a trial login in which this server is its own client. */
import { createHash, randomBytes } from 'node:crypto';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import type { Context } from 'koa';
import { z } from 'zod';
import { equalInConstantTime, sha256 } from '../base/secret.ts';
import type { DemoClient, LoginContext } from './login_context.ts';
import { MAILS_PATH } from './mails_page.ts';
import type { LoginResultPage, NoticePage } from './pages.ts';
import { fill, TEXTS } from './texts/texts.ts';

const START_PATH = '/try-login';
const CALLBACK_PATH = '/try-login/callback';

/** The values of a trial login, stored only in the browser's cookie. */
const TrialLogin = z.object({ state: z.string(), nonce: z.string(), verifier: z.string() });
type TrialLogin = z.output<typeof TrialLogin>;

const COOKIE_SECONDS = 600;
const TOKEN_MILLISECONDS = 10_000;

export function showFrontPage(
  { views, issuer, demo, showsAdminApi, developmentMails }: LoginContext,
  ctx: Context,
): void {
  views.show(ctx, 200, {
    page: 'front',
    accountLink: views.path('/account'),
    deviceLink: views.path('/device'),
    discoveryLink: `${issuer}/.well-known/openid-configuration`,
    documentationLink: showsAdminApi ? views.path('/admin/v1/openapi.json') : undefined,
    mailsLink: developmentMails && views.path(MAILS_PATH),
    tryLink: demo && views.path(START_PATH),
  });
}

/** Starts a trial login like an application does. Without a demo client the page does not exist. */
export async function tryLogin(login: LoginContext, ctx: Context): Promise<void> {
  const client = await login.demo?.();
  if (!client) return;
  const random = (): string => randomBytes(32).toString('base64url');
  const trial: TrialLogin = { state: random(), nonce: random(), verifier: random() };
  ctx.cookies.set(cookieName(login), Buffer.from(JSON.stringify(trial)).toString('base64url'), {
    ...cookieOptions(login),
    maxAge: COOKIE_SECONDS * 1_000,
  });
  const request = {
    client_id: client.client_id,
    response_type: 'code',
    redirect_uri: login.issuer + CALLBACK_PATH,
    scope: 'openid email notes:read',
    resource: client.resource,
    state: trial.state,
    nonce: trial.nonce,
    code_challenge: createHash('sha256').update(trial.verifier).digest('base64url'),
    code_challenge_method: 'S256',
  };
  ctx.set('Cache-Control', 'no-store');
  ctx.status = 303;
  ctx.redirect(`${login.issuer}/authorize?${new URLSearchParams(request)}`);
}

/** Exchanges the code for tokens and shows the result. */
export async function showLoginResult(login: LoginContext, ctx: Context): Promise<void> {
  const client = await login.demo?.();
  if (!client) return;
  const trial = readCookie(login, ctx);
  ctx.cookies.set(cookieName(login), null, cookieOptions(login));
  const { state, iss, code, error, error_description: description } = ctx.query;
  // RFC 9700, 4.4 and 4.7: accept only a response of this server to a request of this browser
  if (!trial || iss !== login.issuer || !equalInConstantTime(sha256(String(state)), sha256(trial.state)))
    return login.views.show(ctx, 400, failed(login, TEXTS.trial.notBegun));
  if (error !== undefined || typeof code !== 'string')
    return login.views.show(ctx, 200, failed(login, TEXTS.trial.refused, { code: error, description }));
  const answer = await redeem(login, client, code, trial.verifier);
  if (!answer.id_token) return login.views.show(ctx, 502, failed(login, TEXTS.trial.notRedeemed, answer));
  login.views.show(ctx, 200, await resultOf(login, client, answer, trial.nonce));
}

interface TokenAnswer {
  readonly id_token?: string;
  readonly scope?: string;
  readonly expires_in?: number;
  readonly code?: string;
  readonly description?: string;
}

async function redeem(
  { issuer }: LoginContext,
  { client_id: id, client_secret: secret }: DemoClient,
  code: string,
  verifier: string,
): Promise<TokenAnswer> {
  const credentials = Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64');
  try {
    const response = await fetch(`${issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${credentials}` },
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code,
        redirect_uri: issuer + CALLBACK_PATH,
        code_verifier: verifier,
      }),
      redirect: 'error',
      signal: AbortSignal.timeout(TOKEN_MILLISECONDS),
    });
    const body = (await response.json()) as TokenAnswer & { error?: string; error_description?: string };
    return response.ok ? body : { code: body.error ?? '', description: body.error_description ?? '' };
  } catch {
    return { code: 'server_error', description: fill(TEXTS.trial.unreachable, { url: `${issuer}/token` }) };
  }
}

async function resultOf(
  login: LoginContext,
  client: DemoClient,
  { id_token: idToken = '', scope = '', expires_in: seconds = 0 }: TokenAnswer,
  nonce: string,
): Promise<LoginResultPage> {
  const { payload } = await jwtVerify(idToken, createRemoteJWKSet(new URL(`${login.issuer}/jwks`)), {
    issuer: login.issuer,
    audience: client.client_id,
  });
  if (payload['nonce'] !== nonce) throw new Error('The nonce of the ID token does not match the request.');
  return {
    page: 'login_result',
    scopes: scope.split(' '),
    resource: client.resource,
    minutes: Math.round(seconds / 60),
    claims: Object.entries(payload).map(([name, value]) => ({
      name,
      value: typeof value === 'string' ? value : JSON.stringify(value),
    })),
    accountLink: login.views.path('/account'),
    againLink: login.views.path(START_PATH),
    frontLink: login.views.path('/'),
  };
}

function failed(
  { views }: LoginContext,
  sentence: string,
  error: { readonly code?: unknown; readonly description?: unknown } = {},
): NoticePage {
  const { code, description } = error;
  return {
    page: 'notice',
    tone: 'problem',
    heading: TEXTS.trial.failed,
    sentences: [sentence],
    link: { text: TEXTS.tryAgain, href: views.path(START_PATH) },
    ...(typeof code === 'string' && {
      error: { code, description: typeof description === 'string' ? description : undefined },
    }),
  };
}

function cookieName({ issuer }: LoginContext): string {
  return issuer.startsWith('https:') ? '__Secure-gatehouse_try_login' : 'gatehouse_try_login';
}

function cookieOptions({ views, issuer }: LoginContext) {
  const path = views.path(START_PATH);
  return { httpOnly: true, sameSite: 'lax', secure: issuer.startsWith('https:'), signed: true, path } as const;
}

function readCookie(login: LoginContext, ctx: Context): TrialLogin | undefined {
  const text = ctx.cookies.get(cookieName(login), { signed: true });
  if (text === undefined) return undefined;
  try {
    return TrialLogin.safeParse(JSON.parse(Buffer.from(text, 'base64url').toString())).data;
  } catch {
    return undefined;
  }
}
