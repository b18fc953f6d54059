/**
 * The protocol's endpoints: the current provider, and the steps around it. The server sends an answer only after the
 * request's changes and its audit events are committed together; if the commit fails, the answer is 503 and nothing has
 * changed.
 */
import type Koa from 'koa';
import compose from 'koa-compose';
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import type { AuditTrail } from '../../audit/trail.ts';
import { isUnavailable, type Database } from '../../db/connection.ts';
import type { Logger } from '../../log.ts';
import { limitErrorDescriptions } from '../../http/error_descriptions.ts';
import { markOnRecord, requestOf } from '../../http/request_context.ts';
import type { FailedAuthentications } from '../../limits/failed_authentications.ts';
import type { RateLimiter } from '../../limits/rate_limiter.ts';
import { answerKeyObjection } from '../client_authentication/client_keys.ts';
import { chargeClientRate } from '../client_authentication/client_rate_limit.ts';
import { countFailure } from '../client_authentication/failed_authentication.ts';
import { endGrant } from '../storage/grant_store.ts';
import { answerRefusal } from './late_refusal.ts';
import { noteReuse, notesOf, originOf, undeliveredEvent } from '../request/request_events.ts';
import { ownPageOf } from '../request/first_party_login.ts';
import type { LibraryPages } from './page_interfaces.ts';
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
  readonly renderError: LibraryPages['renderError'];
  readonly traffic: RateLimiter;
  readonly failures: FailedAuthentications;
  readonly log: Logger;
}

/** A refusal commits the writes that it keeps, and that commit may lose a race too; a second refusal keeps none. */
const REFUSALS_AT_MOST = 2;

const BROKEN = { error: 'server_error', error_description: 'an internal error occurred' };

export class Endpoints {
  readonly #settings: EndpointsSettings;
  #provider: Provider | undefined;
  #handle: Koa.Middleware | undefined;

  constructor(settings: EndpointsSettings) {
    this.#settings = settings;
  }

  /** Replaces the provider; running requests finish with the previous one. */
  use(provider: Provider): void {
    // innermost middleware, so that those that render answers as pages see the final answer
    provider.use(this.#complete);
    this.#provider = provider;
    this.#handle = compose(provider.middleware);
  }

  get provider(): Provider {
    if (!this.#provider) throw new Error('No provider has been set yet.');
    return this.#provider;
  }

  middleware: Koa.Middleware = async (ctx, next) => {
    try {
      await this.#handle!(ctx, next);
    } catch (error) {
      if (!('oidc' in ctx)) throw error;
      notesOf(ctx).failure ??= error as Error;
    }
    // requests that the library's router doesn't match have no OIDC context
    if (!('oidc' in ctx)) return;
    const context = oidcContextOf(ctx);
    // an OPTIONS request without an Origin header, which the library's CORS handler ignores
    if (ctx.method === 'OPTIONS' && ctx.status === 404) {
      ctx.status = 204;
      ctx.set('Allow', (METHODS[ctx.path] ?? []).join(', '));
    }
    const ownPage = ownPageOf(context);
    if (ownPage !== undefined) {
      // replaces the library's answer to an interaction without a client: the person has logged in
      ctx.status = 303;
      ctx.redirect(ownPage);
    }
    await this.#report(context);
    chargeClientRate(this.#settings.traffic, context, context.oidc.client && recordOf(context.oidc.client));
    if (context.oidc.route === 'discovery') omitEmpty(ctx);
    // this media type has no parameters (RFC 9701, 10.3); the library adds a charset
    if (ctx.type === INTROSPECTION_JWT) ctx.set('Content-Type', INTROSPECTION_JWT);
    // the answer is empty (RFC 7009, 2.2), and some clients reject a Content-Type that they can't parse
    if (ctx.path === ROUTES.revocation && ctx.status === 200) {
      ctx.remove('Content-Type');
      ctx.set('Cache-Control', 'no-store');
    }
    limitErrorDescriptions(ctx);
  };

  /** Wraps the library's router: commits everything that belongs to the answer once the library has made it. */
  readonly #complete: Koa.Middleware = async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      if (!('oidc' in ctx)) throw error;
      // the library saves the session again after it has answered an error; if that fails, the error answer stays
      if (!notesOf(ctx).refusal) notesOf(ctx).failure ??= error as Error;
    }
    if (!('oidc' in ctx)) return;
    const context = oidcContextOf(ctx);
    const notes = notesOf(context);
    const cause = notes.refusal?.cause;
    answerKeyObjection(context, cause);
    // the client's keys can't be read at the moment: answer 503, and don't count a failed authentication
    if (isUnavailable(cause)) notes.failure ??= cause as Error;
    // `#report` answers the failure; the request is not committed
    if (notes.failure) return;
    if (this.#settings.structured.takesOver(context, notes.refusal)) await this.#answerStructured(context);
    await countFailure(this.#settings.failures, context);
    await this.#commit(context);
  };

  async #commit(ctx: KoaContextWithOIDC): Promise<void> {
    const notes = notesOf(ctx);
    for (let round = 0; ; round++) {
      try {
        return await this.#record(ctx);
      } catch (error) {
        const lost = error instanceof LostRace ? error : asRefusal(error);
        if (!lost || round === REFUSALS_AT_MOST) {
          notes.mayBeCommitted = mayBeCommitted(error);
          throw error;
        }
        await this.#refuse(ctx, lost, round === 0);
      }
    }
  }

  /**
   * Commits the request. An error page that was rendered before the commit is rendered again, with the request's id.
   */
  async #record(ctx: KoaContextWithOIDC): Promise<void> {
    const { writes, events, errorPage } = notesOf(ctx);
    const origin = originOf(ctx);
    const sifted = this.#settings.trail.refusals.sift(origin, events);
    const { own } = sifted;
    try {
      await commitTogether(this.#settings, origin, { writes, events: own });
    } catch (error) {
      sifted.giveBack();
      throw error;
    }
    sifted.count();
    if (own.length === 0) return;
    markOnRecord(ctx);
    if (errorPage && ctx.body === errorPage.body) await errorPage.show();
  }

  /**
   * Discards the answer and its changes, and has the library answer with the refusal. `first` is false for the second
   * refusal of a request: the writes that the first refusal kept could not be committed.
   */
  async #refuse(ctx: KoaContextWithOIDC, lost: LostRace, first: boolean): Promise<void> {
    const { refusal, event, grantId } = lost;
    const notes = notesOf(ctx);
    notes.events.length = 0;
    const gone = lost instanceof InteractionGone;
    // the browser keeps the cookie of the stored session
    if (gone) ctx.remove('Set-Cookie');
    const keeps = first && !gone;
    notes.writes.splice(0, Infinity, ...notes.writes.filter(({ evenIfRefused }) => evenIfRefused && keeps));
    if (grantId !== undefined) notes.writes.unshift({ write: (tx) => endGrant(tx, grantId), evenIfRefused: true });
    if (event !== undefined) noteReuse(ctx, event, grantId);
    await answerRefusal(ctx, refusal);
  }

  async #answerStructured(ctx: KoaContextWithOIDC): Promise<void> {
    const notes = notesOf(ctx);
    // the library refuses the token type, but that is not the answer to the caller
    notes.events.length = 0;
    delete notes.refusal;
    await this.#settings.structured.answer(ctx);
  }

  /** Answers 503 with Retry-After if the database is unavailable, else 500 with an entry in the log. */
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
    // remove what the answer would have handed out: a code in a redirect, a token in the body
    ctx.remove('Location');
    ctx.remove('Set-Cookie');
    ctx.status = unavailable ? 503 : 500;
    if (unavailable) ctx.set('Retry-After', RETRY_AFTER_SECONDS);
    ctx.set('Cache-Control', 'no-store');
    const out = unavailable ? UNAVAILABLE : BROKEN;
    if (ctx.accepts('json', 'html') === 'html') await this.#settings.renderError(ctx, out, failure);
    else ctx.body = out;
  }

  /** After a 503, the client may retry with the same code, refresh token or proof. */
  async #takeBack(ctx: KoaContextWithOIDC): Promise<void> {
    const { releases, writes, mayBeCommitted: uncertain } = notesOf(ctx);
    const { unanswered } = this.#settings;
    const origin = originOf(ctx);
    await unanswered.takeBack({ origin, takeBacks: releases });
    if (!uncertain) return;
    const takeBacks = writes.flatMap(({ takeBack }) => takeBack ?? []);
    await unanswered.takeBack({ origin, takeBacks, event: undeliveredEvent(ctx) });
  }
}

/** Empty lists must be left out (RFC 8414, 3.2). */
function omitEmpty({ body }: Koa.Context): void {
  if (typeof body !== 'object' || body === null) return;
  const metadata = body as Record<string, unknown>;
  for (const [name, value] of Object.entries(metadata)) {
    if (Array.isArray(value) && value.length === 0) delete metadata[name];
  }
}
