/**
 * The protocol's endpoints: the provider in force, and around it what every answer has to wait for. No answer leaves
 * before what the request changes and its audit events are on disk together; where they can't be written, the answer is
 * 503 and nothing has happened.
 */
import { createHash } from 'node:crypto';
import type Koa from 'koa';
import compose from 'koa-compose';
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import type { AuditTrail } from '../../audit/trail.ts';
import { isUnavailable, type Database } from '../../db/connection.ts';
import type { Logger } from '../../log.ts';
import { markOnRecord, requestOf } from '../../http/request_context.ts';
import type { FailedAuthentications } from '../../limits/failed_authentications.ts';
import type { RateLimiter } from '../../limits/rate_limiter.ts';
import { answerKeyObjection } from '../client_authentication/client_keys.ts';
import { chargeClientRate } from '../client_authentication/client_rate_limit.ts';
import { countFailure } from '../client_authentication/failed_authentication.ts';
import { endGrant } from '../storage/grant_store.ts';
import { answerRefusal } from './late_refusal.ts';
import { noteReuse, notesOf, originOf, undelivered } from '../request/request_events.ts';
import { ownPageOf } from '../request/first_party_login.ts';
import type { ProviderPages } from './provider_pages.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { asRefusal, commitTogether, InteractionGone, LostRace } from '../request/request_writes.ts';
import { METHODS, ROUTES } from '../request/routes.ts';
import { INTROSPECTION_JWT } from '../tokens/signed_introspection.ts';
import type { JwtIntrospection } from '../tokens/jwt_introspection.ts';
import { RETRY_AFTER_SECONDS, UNAVAILABLE } from '../request/unavailable_answer.ts';
import { mayBeCommitted, type UnansweredUses } from '../request/unanswered_uses.ts';
import { oidcContextOf } from './library_types.ts';

export interface EndpointsSettings {
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly unanswered: UnansweredUses;
  readonly structured: JwtIntrospection;
  readonly renderError: ProviderPages['renderError'];
  readonly jwksMaxAgeSeconds: number;
  readonly traffic: RateLimiter;
  readonly failures: FailedAuthentications;
  readonly log: Logger;
}

const BROKEN = { error: 'server_error', error_description: 'something went wrong on our side' };

export class Endpoints {
  readonly #settings: EndpointsSettings;
  #provider: Provider | undefined;
  #handle: Koa.Middleware | undefined;

  constructor(settings: EndpointsSettings) {
    this.#settings = settings;
  }

  /** Puts a provider in force; requests under way finish with the one before. */
  use(provider: Provider): void {
    // next to the library itself: what shows answers as pages does so with the one that is given in the end
    provider.use(this.#complete);
    this.#provider = provider;
    this.#handle = compose(provider.middleware);
  }

  get provider(): Provider {
    if (!this.#provider) throw new Error('No provider is in force yet.');
    return this.#provider;
  }

  middleware: Koa.Middleware = async (ctx, next) => {
    try {
      await this.#handle!(ctx, next);
    } catch (error) {
      if (!('oidc' in ctx)) throw error;
      notesOf(ctx).failure ??= error as Error;
    }
    // what the library's router didn't match has no OIDC context
    if (!('oidc' in ctx)) return;
    const context = oidcContextOf(ctx);
    // one that asks about no other origin, which CORS leaves alone
    if (ctx.method === 'OPTIONS' && ctx.status === 404) {
      ctx.status = 204;
      ctx.set('Allow', (METHODS[ctx.path] ?? []).join(', '));
    }
    const ownPage = ownPageOf(context);
    if (ownPage !== undefined) {
      // 303 whatever the library made of an interaction without a client: the login is done
      ctx.status = 303;
      ctx.redirect(ownPage);
    }
    await this.#report(context);
    chargeClientRate(this.#settings.traffic, context, context.oidc.client && recordOf(context.oidc.client));
    if (context.oidc.route === 'discovery') omitEmpty(ctx);
    if (ctx.path === ROUTES.jwks && ctx.status === 200) this.#cacheable(ctx);
    // which has no parameters (RFC 9701, 10.3); the library adds a charset
    if (ctx.type === INTROSPECTION_JWT) ctx.set('Content-Type', INTROSPECTION_JWT);
    // the answer is empty (RFC 7009, 2.2), and some clients refuse one of a type that they don't read
    if (ctx.path === ROUTES.revocation && ctx.status === 200) {
      ctx.remove('Content-Type');
      ctx.set('Cache-Control', 'no-store');
    }
  };

  /** Around the library's router: once it has made its answer, everything that belongs to it is committed. */
  readonly #complete: Koa.Middleware = async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      if (!('oidc' in ctx)) throw error;
      // a session that could not be saved is tried again after the error was answered: that answer stands
      if (!notesOf(ctx).refusal) notesOf(ctx).failure ??= error as Error;
    }
    if (!('oidc' in ctx)) return;
    const context = oidcContextOf(ctx);
    const notes = notesOf(context);
    const cause = notes.refusal?.cause;
    answerKeyObjection(context, cause);
    // a client whose keys can't be read now is not to blame: the answer is 503, and no failed authentication is counted
    if (isUnavailable(cause)) notes.failure ??= cause as Error;
    // what broke is reported; nothing of the request is kept
    if (notes.failure) return;
    if (this.#settings.structured.takesOver(context, notes.refusal)) await this.#answerStructured(context);
    await countFailure(this.#settings.failures, context);
    await this.#commit(context);
  };

  async #commit(ctx: KoaContextWithOIDC): Promise<void> {
    const notes = notesOf(ctx);
    try {
      await this.#record(ctx);
    } catch (error) {
      const lost = error instanceof LostRace ? error : asRefusal(error);
      if (lost) return this.#refuse(ctx, lost);
      notes.mayBeCommitted = mayBeCommitted(error);
      throw error;
    }
  }

  /** An error page that was drawn before its request is on record is drawn again, with the request's id. */
  async #record(ctx: KoaContextWithOIDC): Promise<void> {
    const { writes, events, errorPage } = notesOf(ctx);
    const origin = originOf(ctx);
    const own = this.#settings.trail.refusals.sift(origin, events);
    await commitTogether(this.#settings, origin, requestOf(ctx).began, { writes, events: own });
    if (own.length === 0) return;
    markOnRecord(ctx);
    if (errorPage && ctx.body === errorPage.body) await errorPage.show();
  }

  /** The answer that was made is thrown away, with what it would have changed, and the library makes a refusal. */
  async #refuse(ctx: KoaContextWithOIDC, lost: LostRace): Promise<void> {
    const { refusal, event, grantId } = lost;
    const notes = notesOf(ctx);
    notes.events.length = 0;
    const gone = lost instanceof InteractionGone;
    // the browser keeps the cookie of the session as it is stored
    if (gone) ctx.remove('Set-Cookie');
    notes.writes.splice(0, Infinity, ...notes.writes.filter(({ evenIfRefused }) => evenIfRefused && !gone));
    if (grantId !== undefined) notes.writes.push({ write: (tx) => endGrant(tx, grantId), evenIfRefused: true });
    if (event !== undefined) noteReuse(ctx, event, grantId);
    await answerRefusal(ctx, refusal);
    await this.#record(ctx);
  }

  async #answerStructured(ctx: KoaContextWithOIDC): Promise<void> {
    const notes = notesOf(ctx);
    // the refusal that handed over to us is no refusal to the caller
    notes.events.length = 0;
    delete notes.refusal;
    await this.#settings.structured.answer(ctx);
  }

  /** A database that can't serve is 503 with Retry-After; anything else that broke is ours to find in the log. */
  async #report(ctx: KoaContextWithOIDC): Promise<void> {
    const { failure } = notesOf(ctx);
    if (!failure) return;
    const unavailable = isUnavailable(failure);
    if (unavailable) await this.#takeBack(ctx);
    this.#settings.log[unavailable ? 'warn' : 'error'](
      { error: failure, request_id: requestOf(ctx).id, path: ctx.path },
      'request.failed',
    );
    markOnRecord(ctx);
    // whatever was about to be given away (a code in a redirect, a token in the body) is taken back
    ctx.remove('Location');
    ctx.remove('Set-Cookie');
    ctx.status = unavailable ? 503 : 500;
    if (unavailable) ctx.set('Retry-After', RETRY_AFTER_SECONDS);
    ctx.set('Cache-Control', 'no-store');
    const out = unavailable ? UNAVAILABLE : BROKEN;
    if (ctx.accepts('json', 'html') === 'html') await this.#settings.renderError(ctx, out, failure);
    else ctx.body = out;
  }

  /** A client that is told to come again may come with the same code, refresh token or proof. */
  async #takeBack(ctx: KoaContextWithOIDC): Promise<void> {
    const { releases, writes, mayBeCommitted: uncertain } = notesOf(ctx);
    const { unanswered } = this.#settings;
    const origin = originOf(ctx);
    await unanswered.takeBack({ origin, takeBacks: releases });
    if (!uncertain) return;
    const takeBacks = writes.flatMap(({ takeBack }) => takeBack ?? []);
    await unanswered.takeBack({ origin, takeBacks, event: undelivered(ctx) });
  }

  #cacheable(ctx: Koa.Context): void {
    ctx.set('Cache-Control', `public, max-age=${this.#settings.jwksMaxAgeSeconds}`);
    ctx.set('ETag', `"${createHash('sha256').update(JSON.stringify(ctx.body)).digest('base64url').slice(0, 27)}"`);
    if (ctx.fresh) ctx.status = 304;
  }
}

/** What there is none of is not listed (RFC 8414, 3.2). */
function omitEmpty({ body }: Koa.Context): void {
  if (typeof body !== 'object' || body === null) return;
  const metadata = body as Record<string, unknown>;
  for (const [name, value] of Object.entries(metadata)) {
    if (Array.isArray(value) && value.length === 0) delete metadata[name];
  }
}
