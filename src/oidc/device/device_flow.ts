/**
 * The person's side of the device flow (RFC 8628): they enter the code, log in, and decide on one page that shows the
 * code, which client requests which access, and a warning. A link with the code only fills in the field. Unknown, used
 * and expired codes get the same answer, and every attempt is counted before the code is looked up.
 */
import { errors, Provider, type Configuration, type ErrorOut, type KoaContextWithOIDC } from 'oidc-provider';
import type { Next, ParameterizedContext } from 'koa';
import { requestOf } from '../../http/request_context.ts';
import type { UserCodeGuesses } from '../../limits/user_code_guesses.ts';
import { CodeTaken } from './device_code_store.ts';
import { note } from '../request/request_events.ts';
import { sessionOf } from '../provider/library_types.ts';
import { INTERVAL_SECONDS } from '../grants/polling.ts';

/** Why the person has to enter the code again. */
export type CodeProblem =
  | { readonly reason: 'missing' }
  | { readonly reason: 'wrong' }
  | { readonly reason: 'stale' }
  | { readonly reason: 'throttled'; readonly retryAfterSeconds: number };

/** The form fields that a page of this flow needs. */
export interface DeviceForm {
  readonly action: string;
  /** Anti-forgery token: the form comes from a page of this session. */
  readonly xsrf: string;
  /** As shown to the person: in capitals, with a dash. */
  readonly code: string;
}

/** The pages of this flow; src/login renders them. */
export interface DevicePages {
  enterCode(ctx: KoaContextWithOIDC, form: DeviceForm, problem: CodeProblem | undefined): void;
  /** The last page: the device is connected, was denied, or the code is no longer valid. */
  deviceDone(ctx: KoaContextWithOIDC, outcome: 'connected' | 'denied' | 'over'): void;
  readonly renderError: NonNullable<Configuration['renderError']>;
}

/** limits/user_code_guesses.ts explains the length. */
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

/** The library's configuration of the device flow. */
export function deviceFlow({ pages }: { pages: DevicePages }): Feature {
  return {
    enabled: true,
    charset: 'base-20',
    mask: CODE_MASK,
    // an address and a user agent prove nothing to a person, and are personal data that the server would have to
    // protect
    deviceInfo: () => ({}),
    userCodeInputSource: (ctx, _form, out, error) => enterCode(pages, ctx, out, error),
    // our form always confirms: the page after the login shows the code and asks for the decision
    userCodeConfirmSource: (ctx) => pages.enterCode(ctx, { ...formOf(ctx), code: '' }, { reason: 'stale' }),
    successSource: (ctx) => pages.deviceDone(ctx, 'connected'),
  };
}

/** Adjusts what the library has no configuration for. Call it for each new provider. */
export function guardDeviceFlow(provider: Provider, page: string, guesses: UserCodeGuesses): void {
  // without `interval` some devices poll as fast as they can (RFC 8628, 3.2, makes it optional)
  provider.on('device_authorization.success', (_ctx, body) => {
    body['interval'] = INTERVAL_SECONDS;
  });
  provider.use(async (ctx, next) => {
    if (ctx.path !== page) return next();
    if (ctx.method === 'POST') return withSession(provider, ctx, next);
    // the library would submit the code of a link without the person, with a script
    prefilled.set(ctx.req, String(ctx.query['user_code'] ?? ''));
    ctx.querystring = '';
    return next();
  });
  const { DeviceCode } = provider;
  const find = DeviceCode.findByUserCode.bind(DeviceCode);
  DeviceCode.findByUserCode = async (userCode) => {
    const ctx = Provider.ctx!;
    if (ctx.oidc.params?.['abort'] !== undefined)
      throw new errors.InvalidRequest('the decision about a device follows the login');
    return guess(ctx, guesses, () => find(userCode));
  };
}

const prefilled = new WeakMap<object, string>();
const stale = new WeakSet<object>();

/** Shows the page again, with a session, if a form was posted without one; the library would fail. */
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
    return pages.enterCode(ctx, { ...formOf(ctx), code: formatCode(typed.slice(0, 20)) }, problem);
  }
  forgetNewSession(ctx);
  if (error.name === 'AbortedError') return pages.deviceDone(ctx, 'denied');
  if (TOO_LATE.has(error.name) || error instanceof CodeTaken) return pages.deviceDone(ctx, 'over');
  await pages.renderError(ctx, out!, error);
}

/** These pages have no form, so a browser without a session needs none. The library fails to store one for them. */
function forgetNewSession({ oidc }: KoaContextWithOIDC): void {
  const session = sessionOf(oidc);
  if (session && session.exp === undefined) Object.assign(session, { touched: false });
}

/** The library's errors for codes that can't be used. The person does not learn which one occurred. */
const TOO_LATE = new Set(['NotFoundError', 'ExpiredError', 'AlreadyUsedError']);

function problemOf(ctx: KoaContextWithOIDC, error: Error | undefined): CodeProblem | undefined {
  if (!error) return stale.has(ctx.req) ? { reason: 'stale' } : undefined;
  if (error.name === 'NoCodeError') return { reason: 'missing' };
  if (TOO_LATE.has(error.name) || error instanceof CodeTaken) return { reason: 'wrong' };
  if (error instanceof TooManyGuesses) return { reason: 'throttled', retryAfterSeconds: error.retryAfterSeconds };
  // before a code is found, only the form itself can be invalid
  const early = ctx.oidc.entities.DeviceCode === undefined;
  return early && error instanceof errors.InvalidRequest ? { reason: 'stale' } : undefined;
}

function formOf({ oidc }: KoaContextWithOIDC): Pick<DeviceForm, 'action' | 'xsrf'> {
  return {
    action: new URL(oidc.urlFor('code_verification')).pathname,
    xsrf: String(oidc.session!.state?.['secret']),
  };
}

/** In capitals and two halves, regardless of how the person typed it. */
export function formatCode(typed: string): string {
  const letters = typed.toUpperCase().replaceAll(/[^A-Z0-9]/g, '');
  if (letters.length !== 2 * HALF_OF_CODE) return letters;
  return `${letters.slice(0, HALF_OF_CODE)}-${letters.slice(HALF_OF_CODE)}`;
}
