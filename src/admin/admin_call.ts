/** One call of the admin API: its caller, and how a handler reads, writes and returns pages. */
import type { Context } from 'koa';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Origin } from '../audit/events.ts';
import { transact } from '../db/transaction.ts';
import type { JsonBody } from '../http/json_body.ts';
import { requestOf } from '../http/request_context.ts';
import { routeOf, type Reply, type Route } from '../http/route.ts';
import type { AdminDependencies } from './admin_dependencies.ts';
import type { Caller } from './authentication.ts';
import { Cursors, type List, type Page, type Position, type Rows } from './cursors.ts';
import { matchesAny, refuseOtherVersion } from './entity_tag.ts';
import { claimKey, storeReply, readIdempotencyKey, replay, type Attempt } from './idempotency.ts';

export type AdminRoute = Route<AdminCall>;
export const adminRoute = routeOf<AdminCall>();

export class AdminCall {
  readonly dependencies: AdminDependencies;
  readonly now: Date;
  readonly #ctx: Context;
  readonly #caller: Caller | undefined;
  readonly #body: JsonBody;
  readonly #cursors: Cursors;

  constructor(dependencies: AdminDependencies, ctx: Context, caller: Caller | undefined, body: JsonBody) {
    this.dependencies = dependencies;
    this.now = requestOf(ctx).now;
    this.#ctx = ctx;
    this.#caller = caller;
    this.#body = body;
    this.#cursors = new Cursors(dependencies.vault);
  }

  get caller(): Caller {
    if (!this.#caller) throw new Error('Only a route with a scope has a caller.');
    return this.#caller;
  }

  get origin(): Origin {
    return originOfCall(this.#ctx, this.#caller);
  }

  /** Whether the Accept header prefers this content type to application/json. */
  asksFor(contentType: string): boolean {
    return this.#ctx.accepts('application/json', contentType) === contentType;
  }

  /**
   * Runs `apply` in a transaction and returns once this node has read the invalidations of the change. Everything that
   * depends on stored data belongs inside `apply`; slow work such as hashing happens before. A repeated Idempotency-Key
   * gets the stored reply.
   */
  async write<T>(apply: (work: UnitOfWork) => Promise<Reply<T>>): Promise<Reply<T>> {
    const { database, vault, trail } = this.dependencies;
    const { origin, now } = this;
    const attempt = await this.#attempt();
    const done = await transact(database, async (tx) => {
      const stored = attempt && (await claimKey(tx, attempt, now));
      if (stored) return { stored };
      const reply = await apply({ tx, trail, origin, now });
      if (attempt) await storeReply(tx, attempt, reply);
      return { reply };
    });
    // a stored reply with the same key and the same request is a reply of this route, so the cast is safe
    if ('stored' in done) return (await replay(vault, attempt!, done.stored)) as Reply<T>;
    await this.#catchUp();
    return done.reply;
  }

  /** Throws if If-Match names another version. Call it while the row is locked. */
  refuseOtherVersion(version: number): void {
    refuseOtherVersion(this.#ctx.get('If-Match'), version);
  }

  /** Replies with the object and its entity tag, or with 304 if If-None-Match has that tag. */
  show<T>(tag: string, body: T): Reply<T> {
    const headers = { ETag: tag };
    return matchesAny(this.#ctx.get('If-None-Match'), tag) ? { status: 304, headers } : { status: 200, headers, body };
  }

  openCursor<P extends Position>(list: List, cursor: string | undefined): Promise<P | undefined> {
    return this.#cursors.open<P>(list, cursor, this.now);
  }

  async page<Row, View>(list: List, rows: Rows<Row, View>): Promise<Reply<Page<View>>> {
    return { status: 200, body: await this.#cursors.page(list, rows, this.now) };
  }

  async #attempt(): Promise<Attempt | undefined> {
    const key = readIdempotencyKey(this.#ctx.get('Idempotency-Key'));
    if (key === undefined) return undefined;
    const { method, path, querystring } = this.#ctx;
    return {
      actorId: this.caller.accountId ?? this.caller.clientId,
      key,
      request: `${method} ${path}?${querystring}\n${this.#body.text}`,
      dataKey: await this.dependencies.vault.current('replies', this.now),
    };
  }

  /**
   * The change is already committed, so a failure to read the invalidation log must not become an error for the caller;
   * the follower reads it later.
   */
  async #catchUp(): Promise<void> {
    const { changes, log } = this.dependencies;
    await changes
      .catchUp()
      .catch((error: unknown) =>
        log.warn({ error, request_id: requestOf(this.#ctx).id }, 'admin_call.change_not_followed'),
      );
  }
}

export function originOfCall(ctx: Context, caller: Caller | undefined): Origin {
  const { id, address } = requestOf(ctx);
  return { actor: actorOf(caller), address, requestId: id };
}

function actorOf(caller: Caller | undefined): Origin['actor'] {
  if (!caller) return { type: 'anonymous' };
  const { accountId, clientId } = caller;
  return accountId === undefined ? { type: 'client', id: clientId } : { type: 'account', id: accountId };
}
