/**
 * The fast path: the requests that programs send most, answered in front of Koa without the library's two dozen steps. It
 * reads a request and admits its client; what stands in a token comes from the functions that the library's hooks call,
 * too (issuance/issuance.ts). It refuses no request for its contents: it hands over to the library, untouched, everything
 * that it does not fully understand and everything that is to be refused. test/tokens/both_paths_compared.test.ts sends the
 * same requests both ways and compares the results.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
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
  readonly trail: AuditTrail;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** What the fast path knows of one endpoint. */
export interface FastPathEndpoint<Asked extends PlainCredentials = PlainCredentials> {
  /** The endpoint's path, below the issuer's. */
  readonly path: string;
  /** `undefined` for a request that is for the library to read. */
  read(headers: IncomingHttpHeaders, body: string): Asked | undefined;
  /** Whether a client that the fast path understands may send this request. */
  serves(client: ClientWithSecrets, asked: Asked): boolean;
  /** The body of an answer with status 200: JSON, or empty. `undefined` where the library is to answer. */
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

  /** Answers what it can in front of `library`, which answers the rest. */
  before(library: RequestListener, endpoints: readonly FastPathEndpoint[]): RequestListener {
    const byUrl = new Map(endpoints.map((endpoint) => [this.#base + endpoint.path, endpoint]));
    return (request, response) => {
      const endpoint = byUrl.get(request.url ?? '');
      const bytes = endpoint && plainBodyBytes(request);
      if (bytes === undefined) return library(request, response);
      const began = performance.now();
      // a request without a body is never readable, and needs no answer
      request.once('readable', () => {
        const body = request.read() as Buffer | null;
        // the next reader of the request gets all of it
        if (body) request.unshift(body);
        if (body?.length !== bytes) return library(request, response);
        const handOver = (): void => {
          if (request.destroyed) keepBody(request, body);
          library(request, response);
        };
        this.#answer(endpoint!, { request, response, body: body.toString('latin1'), began }).then(
          (answered) => answered || handOver(),
          handOver,
        );
      });
    };
  }

  /** Whether there was an answer. If there was none, nothing has happened that the library could not do again. */
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
      // the request is counted by the library
      traffic.giveBack(proven);
      return false;
    }
    this.#answers++;
    metrics.observe({ method: 'POST', route: endpoint.path, status: response.statusCode, began });
    // takes the body out of the connection, which may bring the next request
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
      // the failure may be the fast path's alone: the library tries once more
      if (!unavailable) return false;
      answerUnavailable(response, this.#headers(context));
    } finally {
      traffic.leave(proven);
    }
    return true;
  }

  /** Only the first refusal of a flood is an event: a client must not be able to fill the trail. */
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
      // the library answers a page of another origin, with CORS
      Vary: 'Origin',
      ...(this.#secure && { 'Strict-Transport-Security': 'max-age=63072000' }),
    };
  }
}

export function originOfRequest(clientId: string, { id, address }: RequestContext): Origin {
  return { actor: { type: 'client', id: clientId }, address, requestId: id };
}

/** An id or value of 256 random bits. */
export function randomTokenValue(): string {
  return randomBytes(32).toString('base64url');
}

/**
 * Node discards the unread body of a request whose connection was lost. The library must see it all the same: a code that
 * comes a second time ends its family, whether or not the sender waits for the answer.
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

/** A request whose client has proved itself. */
interface Admitted {
  readonly client: ClientWithSecrets;
  readonly proven: ProvenClient;
  readonly asked: PlainCredentials;
  readonly context: RequestContext;
}
