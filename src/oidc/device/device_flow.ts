/**
 * The person's side of the device flow (RFC 8628): they enter the code, see who wants what and confirm it, then log in
 * and consent as for any application. A link with the code in it fills in the field and nothing else. A code that is
 * unknown, used or expired gets one and the same answer, and every try is counted before anything is looked up.
 */
import {
  errors,
  Provider,
  type Client,
  type Configuration,
  type ErrorOut,
  type KoaContextWithOIDC,
} from 'oidc-provider';
import type { Next, ParameterizedContext } from 'koa';
import { equalInConstantTime, sha256 } from '../../base/secret.ts';
import { requestOf } from '../../http/request_context.ts';
import type { UserCodeGuesses } from '../../limits/user_code_guesses.ts';
import { CodeTaken } from './device_code_store.ts';
import { note } from '../request/request_events.ts';
import { INTERVAL_SECONDS } from '../grants/polling.ts';
import type { ResourcePolicy, SortedScopes } from '../tokens/resource_policy.ts';

/** Why the code has to be entered again. */
export type CodeProblem =
  | { readonly reason: 'missing' }
  | { readonly reason: 'wrong' }
  | { readonly reason: 'stale' }
  | { readonly reason: 'throttled'; readonly retryAfterSeconds: number };

/** What a page of this flow needs for its form. */
export interface DeviceForm {
  readonly action: string;
  /** Proves that the form was on a page for this session. */
  readonly xsrf: string;
  /** As the person reads it: in capitals, with a dash. */
  readonly code: string;
}

/** The pages, drawn by the login room. */
export interface DevicePages {
  enterCode(ctx: KoaContextWithOIDC, form: DeviceForm, problem: CodeProblem | undefined): void;
  /** `confirmation` goes with the decision; it fits this browser and this code alone. */
  confirmCode(
    ctx: KoaContextWithOIDC,
    form: DeviceForm & { confirmation: string; scopes: SortedScopes },
  ): Promise<void>;
  /** The end of it: the device has what it asked for, or won't get it. */
  deviceDone(ctx: KoaContextWithOIDC, outcome: 'connected' | 'denied' | 'over'): void;
  readonly renderError: NonNullable<Configuration['renderError']>;
}

/** How many letters, and why: limits/user_code_guesses.ts. */
const CODE_MASK = '*****-*****';
const HALF_OF_CODE = CODE_MASK.indexOf('-');

class TooManyGuesses extends errors.OIDCProviderError {
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds: number) {
    super(429, 'too_many_requests');
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

type Feature = NonNullable<NonNullable<Configuration['features']>['deviceFlow']>;

export function deviceFlow({ pages, policy }: { pages: DevicePages; policy: ResourcePolicy }): Feature {
  return {
    enabled: true,
    charset: 'base-20',
    mask: CODE_MASK,
    // an address and a user agent prove nothing to a person, and somebody would have to look after them
    deviceInfo: () => ({}),
    userCodeInputSource: (ctx, _form, out, error) => enterCode(pages, ctx, out, error),
    userCodeConfirmSource: (ctx, _form, client) => confirmCode(pages, policy, ctx, client),
    successSource: (ctx) => pages.deviceDone(ctx, 'connected'),
  };
}

/** Does to a provider what its configuration has no word for. Call it for each one that is built. */
export function guardDeviceFlow(provider: Provider, page: string, guesses: UserCodeGuesses): void {
  // without an interval some devices poll as fast as they can (RFC 8628, 3.2, leaves it out for the default)
  provider.on('device_authorization.success', (_ctx, body) => {
    body['interval'] = INTERVAL_SECONDS;
  });
  provider.use(async (ctx, next) => {
    if (ctx.path !== page) return next();
    if (ctx.method === 'POST') return withSession(provider, ctx, next);
    // the library would go on with the code in a link by itself, with a script
    prefilled.set(ctx.req, String(ctx.query['user_code'] ?? ''));
    ctx.querystring = '';
    return next();
  });
  const { DeviceCode } = provider;
  const find = DeviceCode.findByUserCode.bind(DeviceCode);
  DeviceCode.findByUserCode = async (userCode) => {
    const ctx = Provider.ctx!;
    if (decides(ctx, userCode)) return find(userCode);
    return guess(ctx, guesses, () => find(userCode));
  };
}

const prefilled = new WeakMap<object, string>();
const stale = new WeakSet<object>();

/** A form that no session knows of gets the page anew, with a session: the library would fail for want of one. */
async function withSession(provider: Provider, ctx: ParameterizedContext, next: Next): Promise<void> {
  const { state } = await provider.Session.get(ctx);
  if (state !== undefined) return next();
  stale.add(ctx.req);
  ctx.method = 'GET';
  ctx.querystring = '';
  await next();
  ctx.method = 'POST';
}

async function guess<T>(ctx: KoaContextWithOIDC, guesses: UserCodeGuesses, find: () => Promise<T | undefined>) {
  const { uid: session, accountId } = ctx.oidc.session!;
  const { address } = requestOf(ctx);
  const guessed = await guesses.attempt({ session, accountId, address }, find);
  if (!guessed.admitted) {
    const { retryAfterSeconds } = guessed;
    const details = { retry_after_seconds: retryAfterSeconds };
    note(ctx, { event: 'device.throttled', outcome: 'refused', details });
    throw new TooManyGuesses(retryAfterSeconds);
  }
  if (!guessed.result) note(ctx, { event: 'device.guessed', outcome: 'refused' });
  return guessed.result;
}

/** Whether the person decides about a code that this browser was shown. Without having seen it, nobody decides. */
function decides({ oidc }: KoaContextWithOIDC, userCode: string): boolean {
  const { confirm, abort } = oidc.params ?? {};
  if (confirm === undefined && abort === undefined) return false;
  const proof = Buffer.from(typeof confirm === 'string' ? confirm : '');
  if (equalInConstantTime(proof, Buffer.from(confirmationFor(oidc, userCode)))) return true;
  throw new errors.InvalidRequest('the confirmation is not of this browser’s page');
}

/** Only who holds the session's cookie, which is not stored, can know it. */
function confirmationFor({ session }: KoaContextWithOIDC['oidc'], userCode: string): string {
  return sha256(`the device page for ${userCode} ${session!.jti}`).toString('base64url');
}

async function enterCode(
  pages: DevicePages,
  ctx: KoaContextWithOIDC,
  out: ErrorOut | undefined,
  error: (Error & { userCode?: string }) | undefined,
): Promise<void> {
  const entering = ctx.oidc.route === 'code_verification';
  const problem = entering ? problemOf(ctx, error) : undefined;
  if (!error || problem) {
    const typed = error?.userCode ?? prefilled.get(ctx.req) ?? '';
    return pages.enterCode(ctx, { ...formOf(ctx), code: spell(typed.slice(0, 20)) }, problem);
  }
  if (error.name === 'AbortedError') return pages.deviceDone(ctx, 'denied');
  if (TOO_LATE.has(error.name) || error instanceof CodeTaken) return pages.deviceDone(ctx, 'over');
  await pages.renderError(ctx, out!, error);
}

/** The library's names for what may be wrong with a code. Which one it was, the person is not told. */
const TOO_LATE = new Set(['NotFoundError', 'ExpiredError', 'AlreadyUsedError']);

function problemOf(ctx: KoaContextWithOIDC, error: Error | undefined): CodeProblem | undefined {
  if (!error) return stale.has(ctx.req) ? { reason: 'stale' } : undefined;
  if (error.name === 'NoCodeError') return { reason: 'missing' };
  if (TOO_LATE.has(error.name) || error instanceof CodeTaken) return { reason: 'wrong' };
  if (error instanceof TooManyGuesses) return { reason: 'throttled', retryAfterSeconds: error.retryAfterSeconds };
  // before a code was found only the form itself can be what is refused
  const early = ctx.oidc.entities.DeviceCode === undefined;
  return early && error instanceof errors.InvalidRequest ? { reason: 'stale' } : undefined;
}

function confirmCode(
  pages: DevicePages,
  policy: ResourcePolicy,
  ctx: KoaContextWithOIDC,
  client: Client,
): Promise<void> {
  const { userCode, params = {} } = ctx.oidc.entities.DeviceCode!;
  return pages.confirmCode(ctx, {
    ...formOf(ctx),
    code: spell(userCode),
    confirmation: confirmationFor(ctx.oidc, userCode),
    scopes: policy.sort(client, params),
  });
}

function formOf({ oidc }: KoaContextWithOIDC): Pick<DeviceForm, 'action' | 'xsrf'> {
  return {
    action: new URL(oidc.urlFor('code_verification')).pathname,
    xsrf: String(oidc.session!.state?.['secret']),
  };
}

/** In capitals and in two halves, however it was typed. */
function spell(typed: string): string {
  const letters = typed.toUpperCase().replaceAll(/[^A-Z0-9]/g, '');
  if (letters.length !== 2 * HALF_OF_CODE) return letters;
  return `${letters.slice(0, HALF_OF_CODE)}-${letters.slice(HALF_OF_CODE)}`;
}
