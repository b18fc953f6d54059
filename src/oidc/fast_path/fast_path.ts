/**
 * The fast path answers the most frequent requests of programs in front of Koa, without the two dozen steps of the
 * library. It parses the request and authenticates the client. The contents of tokens come from functions that the
 * library's hooks call, too (issuance/issuance.ts). It refuses no request because of its contents: it passes each
 * request that it does not fully support, and each request that must be refused, to the library unchanged.
 * test/tokens/both_paths_compared.test.ts sends the same requests on both paths and compares the results.
 */
import type { IncomingHttpHeaders, IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import { withTimeBudget } from '../../base/time_budget.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { isUnavailable } from '../../db/connection.ts';
import { refusalBody, refusalHeaders } from '../../http/admission.ts';
import type { Metrics } from '../../http/metrics.ts';
import type { OpenRequest, RequestContext } from '../../http/request_context.ts';
import type { ProvenClient, RateLimitRefusal } from '../../limits/rate_limiter.ts';
import type { Logger } from '../../log.ts';
import { clientThrottled, provenClient, remainingHeaders } from '../client_authentication/client_rate_limit.ts';
import { answerUnavailable } from '../request/unavailable_answer.ts';
import { ClientAdmission, type ClientAdmissionSettings } from './client_admission.ts';
import { plainBodyBytes, type PlainCredentials } from './plain_request.ts';

export interface FastPathSettings extends ClientAdmissionSettings {
  readonly issuer: string;
  readonly open: OpenRequest;
  /** The time within which the response must begin. */
  readonly answerMilliseconds: number;
  readonly trail: AuditTrail;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** One endpoint of the fast path. */
export interface FastPathEndpoint<Asked extends PlainCredentials = PlainCredentials> {
  /** The endpoint's path, relative to the issuer's. */
  readonly path: string;
  /** Parses a request; returns `undefined` if the library must handle it. */
  read(headers: IncomingHttpHeaders, body: string): Asked | undefined;
  /** Whether this client may send this request; the client's metadata is supported here. */
  serves(client: ClientWithSecrets, asked: Asked): boolean;
  /** Returns the body of a response with status 200, JSON or empty; `undefined` if the library must answer. */
  answer(client: ClientWithSecrets, asked: Asked, context: RequestContext): Promise<string | undefined>;
}

export class FastPath {
  readonly #settings: FastPathSettings;
  readonly #base: string;
  readonly #secure: boolean;
  readonly #admission: ClientAdmission;
  #answers = 0;

  constructor(settings: FastPathSettings) {
    this.#settings = settings;
    this.#admission = new ClientAdmission(settings);
    const { protocol, pathname } = new URL(settings.issuer);
    this.#base = pathname.replace(/\/$/, '');
    this.#secure = protocol === 'https:';
    settings.metrics.counter(
      'gatehouse_lean_answers_total',
      'Requests answered on the fast path.',
      () => this.#answers,
    );
  }

  /** Wraps `library`: answers the requests that the fast path supports, and passes all others to `library`. */
  before(library: RequestListener, endpoints: readonly FastPathEndpoint[]): RequestListener {
    const { answerMilliseconds: milliseconds } = this.#settings;
    const byUrl = new Map(endpoints.map((endpoint) => [this.#base + endpoint.path, endpoint]));
    return (request, response) => {
      const endpoint = byUrl.get(request.url ?? '');
      const bytes = endpoint && plainBodyBytes(request);
      if (bytes === undefined) return library(request, response);
      const began = performance.now();
      // the event does not come for a request that was aborted before its body, which needs no response
      request.once('readable', () => {
        const body = request.read() as Buffer | null;
        // the library reads the body again, from its beginning
        if (body) request.unshift(body);
        if (body?.length !== bytes) return library(request, response);
        const handOver = (): void => {
          if (request.destroyed) keepBody(request, body);
          library(request, response);
        };
        const exchange = { request, response, body: body.toString('latin1'), began };
        withTimeBudget({ began, milliseconds, response }, () => this.#answer(endpoint!, exchange)).then(
          (answered) => answered || handOver(),
          handOver,
        );
      });
    };
  }

  /** Returns whether it answered. If not, it has changed nothing, and the library can handle the request. */
  async #answer(endpoint: FastPathEndpoint, { request, response, body, began }: Exchange): Promise<boolean> {
    const asked = endpoint.read(request.headers, body);
    if (!asked) return false;
    const { open, traffic, metrics } = this.#settings;
    const context = open(request);
    const client = await this.#admission.admit(endpoint, asked, context);
    if (!client) return false;
    const proven = provenClient(client, context);
    const refusal = traffic.refusesClient(proven);
    if (refusal) await this.#refuse(response, client.clientId, refusal, context);
    else if (!(await this.#send(response, endpoint, { client, proven, asked, context }))) {
      // the library counts the request again
      traffic.giveBack(proven);
      return false;
    }
    this.#answers++;
    metrics.observe({ method: 'POST', route: endpoint.path, status: response.statusCode, began });
    // reads the rest of the body, so that the connection can receive its next request
    request.resume();
    return true;
  }

  async #send(
    response: ServerResponse,
    endpoint: FastPathEndpoint,
    { client, proven, asked, context }: Admitted,
  ): Promise<boolean> {
    const { traffic, log } = this.#settings;
    const turn = traffic.turn(proven);
    if (turn && !(await turn)) {
      answerUnavailable(response, this.#headers(context));
      return true;
    }
    try {
      const body = await endpoint.answer(client, asked, context);
      if (body === undefined) return false;
      const remaining = traffic.remaining(client.clientId);
      this.#write(response, context, 200, remaining && remainingHeaders(remaining), body);
    } catch (error) {
      const unavailable = isUnavailable(error);
      log[unavailable ? 'warn' : 'error']({ error, request_id: context.id, path: endpoint.path }, 'request.failed');
      // the cause may be an error in the fast path only, so the library handles the request again
      if (!unavailable) return false;
      answerUnavailable(response, this.#headers(context));
    } finally {
      traffic.leave(proven);
    }
    return true;
  }

  /** Records only the first refusal of a series, so that a client can not fill the audit trail. */
  async #refuse(
    response: ServerResponse,
    clientId: string,
    refusal: RateLimitRefusal,
    context: RequestContext,
  ): Promise<void> {
    const { trail, traffic } = this.#settings;
    if (refusal.first) await trail.record(originOfRequest(clientId, context), clientThrottled(clientId, refusal));
    await traffic.holdBack(refusal);
    this.#write(response, context, refusal.status, refusalHeaders(refusal), JSON.stringify(refusalBody(refusal)));
  }

  #write(
    response: ServerResponse,
    context: RequestContext,
    status: number,
    headers: Readonly<Record<string, string>> | undefined,
    body: string,
  ): void {
    response.writeHead(status, {
      ...this.#headers(context),
      ...headers,
      ...(body !== '' && { 'Content-Type': 'application/json; charset=utf-8' }),
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  }

  #headers({ id }: RequestContext): Record<string, string> {
    return {
      'X-Request-Id': id,
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      // the library's response to a page of another origin has CORS headers
      Vary: 'Origin',
      ...(this.#secure && { 'Strict-Transport-Security': 'max-age=63072000' }),
    };
  }
}

export function originOfRequest(clientId: string, { id, address }: RequestContext): Origin {
  return { actor: { type: 'client', id: clientId }, address, requestId: id };
}

/**
 * Keeps the body of a request whose connection was lost; Node would discard it unread. The library needs the body: a
 * code that is used twice must end its token family, even if the sender no longer waits for the response.
 */
function keepBody(request: IncomingMessage, body: Buffer): void {
  Object.defineProperties(request, { readable: { value: true }, iterator: { value: () => [body] } });
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly body: string;
  readonly began: number;
}

/** A request of an authenticated client. */
interface Admitted {
  readonly client: ClientWithSecrets;
  readonly proven: ProvenClient;
  readonly asked: PlainCredentials;
  readonly context: RequestContext;
}
