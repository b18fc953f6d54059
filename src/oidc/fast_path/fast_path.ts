/**
 * The lean paths: what programs ask most of a token server, answered without the library's two dozen steps. They share
 * with the ordinary path the client's look-up, the check of its secret, its share of our time, and the audit trail, and
 * they refuse nobody for what is asked: whatever one doesn't fully understand, and whatever would be refused, it hands
 * over untouched. Tests send the same requests down both and compare what comes back.
 */
import type { IncomingHttpHeaders, IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import type { SecretUses } from '../../clients/secret_uses.ts';
import type { SecretVerifier } from '../../clients/secret_verifier.ts';
import { isUnavailable } from '../../db/connection.ts';
import { refusalBody, refusalHeaders } from '../../http/admission.ts';
import type { Metrics } from '../../http/metrics.ts';
import type { OpenRequest, RequestContext } from '../../http/request_context.ts';
import type { ProvenClient, RateLimitRefusal, RateLimiter } from '../../limits/rate_limiter.ts';
import type { Logger } from '../../log.ts';
import { clientThrottled, provenClient, remainingHeaders } from '../client_authentication/client_rate_limit.ts';
import { answerUnavailable } from '../request/unavailable_answer.ts';
import { plainBodyBytes, type PlainCredentials } from './plain_request.ts';

export interface FastPathSettings {
  readonly issuer: string;
  readonly open: OpenRequest;
  readonly clients: ClientDirectory;
  readonly verifier: SecretVerifier;
  readonly uses: SecretUses;
  readonly trail: AuditTrail;
  readonly traffic: RateLimiter;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** One endpoint's lean path. */
export interface FastPathEndpoint<Asked extends PlainCredentials = PlainCredentials> {
  /** The endpoint's path, below the issuer's. */
  readonly path: string;
  /** `undefined` for a request that is for the ordinary path to read. */
  read(headers: IncomingHttpHeaders, body: string): Asked | undefined;
  /** Whether a client may be served here that has nothing about it that a lean path doesn't know. */
  serves(client: ClientWithSecrets, asked: Asked): boolean;
  /** The body of an answer with 200 in JSON, or none; `undefined` where the ordinary path is to answer. */
  answer(client: ClientWithSecrets, asked: Asked, context: RequestContext): Promise<string | undefined>;
}

/**
 * With what a client may be registered and still take this way: what asks for no more than a secret. A new member
 * doesn't compile before somebody has decided about it here.
 */
const UNDERSTOOD: Readonly<Record<keyof ClientMetadata, boolean>> = {
  client_name: true,
  client_uri: true,
  logo_uri: true,
  policy_uri: true,
  tos_uri: true,
  contacts: true,
  software_id: true,
  software_version: true,
  application_type: true,
  redirect_uris: true,
  post_logout_redirect_uris: true,
  grant_types: true,
  response_types: true,
  token_endpoint_auth_method: true,
  secret_rotation_days: true,
  scope: true,
  id_token_signed_response_alg: true,
  userinfo_signed_response_alg: true,
  introspection_signed_response_alg: true,
  default_max_age: true,
  require_auth_time: true,
  response_modes: true,
  pkce_exemption: true,
  subject_type: true,
  backchannel_logout_uri: true,
  backchannel_logout_session_required: true,
  resources: true,
  introspects: true,
  authorization_details_types: true,
  jwks: false,
  jwks_uri: false,
  token_endpoint_auth_signing_alg: false,
  tls_client_auth_subject_dn: false,
  tls_client_auth_san_dns: false,
  tls_client_auth_san_uri: false,
  tls_client_auth_san_ip: false,
  tls_client_auth_san_email: false,
  tls_client_certificate_bound_access_tokens: false,
  dpop_bound_access_tokens: false,
  profile: false,
  sector_identifier_uri: false,
  require_pushed_authorization_requests: false,
  request_object_signing_alg: false,
  require_signed_request_object: false,
  authorization_signed_response_alg: false,
  backchannel_token_delivery_mode: false,
  backchannel_client_notification_endpoint: false,
  backchannel_authentication_request_signing_alg: false,
};

export class FastPath {
  readonly #settings: FastPathSettings;
  readonly #base: string;
  readonly #secure: boolean;
  readonly #plain = new WeakMap<ClientWithSecrets, boolean>();
  #answers = 0;

  constructor(settings: FastPathSettings) {
    this.#settings = settings;
    const { protocol, pathname } = new URL(settings.issuer);
    this.#base = pathname.replace(/\/$/, '');
    this.#secure = protocol === 'https:';
    settings.metrics.counter('gatehouse_lean_answers_total', 'Requests answered on a lean path.', () => this.#answers);
  }

  /** Answers what one of the paths can in front of `ordinary`, which answers the rest. */
  before(ordinary: RequestListener, paths: readonly FastPathEndpoint[]): RequestListener {
    const byUrl = new Map(paths.map((path) => [this.#base + path.path, path]));
    return (request, response) => {
      const path = byUrl.get(request.url ?? '');
      const bytes = path && plainBodyBytes(request);
      if (bytes === undefined) return ordinary(request, response);
      const began = performance.now();
      // without a body there is nothing to read, and nobody to answer
      request.once('readable', () => {
        const body = request.read() as Buffer | null;
        // as it was found: whoever reads the request next gets all of it
        if (body) request.unshift(body);
        if (body?.length !== bytes) return ordinary(request, response);
        const handOver = (): void => {
          if (request.destroyed) keepBody(request, body);
          ordinary(request, response);
        };
        this.#answer(path!, { request, response, body: body.toString('latin1'), began }).then(
          (answered) => answered || handOver(),
          handOver,
        );
      });
    };
  }

  /** Whether there was an answer. Where there was none, nothing has happened that the ordinary path could not do again. */
  async #answer(path: FastPathEndpoint, { request, response, body, began }: Exchange): Promise<boolean> {
    const asked = path.read(request.headers, body);
    if (!asked) return false;
    const { open, traffic, metrics } = this.#settings;
    const context = open(request);
    const client = await this.#authenticate(path, asked, context);
    if (!client) return false;
    const proven = provenClient(client, context);
    const refusal = traffic.refusesClient(proven);
    if (refusal) await this.#refuse(response, { client, refusal, context });
    else if (!(await this.#say(response, { path, client, proven, asked, context }))) {
      // it pays on the ordinary path
      traffic.giveBack(proven);
      return false;
    }
    this.#answers++;
    metrics.observe({ method: 'POST', route: path.path, status: response.statusCode, began });
    // taken out of the connection, which may bring the next request
    request.resume();
    return true;
  }

  async #authenticate(
    path: FastPathEndpoint,
    asked: PlainCredentials,
    { address, now }: RequestContext,
  ): Promise<ClientWithSecrets | undefined> {
    const { clients, verifier, uses, traffic } = this.#settings;
    const known = clients.known(asked.clientId);
    // to name clients costs nothing, to look them up does: an address that has used up what it may has none looked up
    if (!known && !traffic.addressHasLeft(address)) return undefined;
    const client = known ?? (await clients.find(asked.clientId));
    if (!client || client.revokedAt || client.metadata.token_endpoint_auth_method !== asked.method) return undefined;
    if (!this.#isPlain(client) || !path.serves(client, asked)) return undefined;
    // it pays from its address, too; the ordinary path refuses it
    if (client.registration && !traffic.addressHasLeft(address)) return undefined;
    const secret = await verifier.verify(client, { secret: asked.clientSecret, address }, now);
    if (!secret) return undefined;
    uses.note(secret.secretId, now);
    return client;
  }

  #isPlain(client: ClientWithSecrets): boolean {
    const known = this.#plain.get(client);
    if (known !== undefined) return known;
    const members = Object.entries(client.metadata).filter(([, value]) => value !== undefined && value !== false);
    const plain = members.every(([member]) => UNDERSTOOD[member as keyof ClientMetadata]);
    this.#plain.set(client, plain);
    return plain;
  }

  async #say(response: ServerResponse, { path, client, proven, asked, context }: Request): Promise<boolean> {
    const { traffic, log } = this.#settings;
    const headers = this.#headers(context);
    const turn = traffic.turn(proven);
    if (turn && !(await turn)) {
      answerUnavailable(response, headers);
      return true;
    }
    try {
      const body = await path.answer(client, asked, context);
      if (body === undefined) return false;
      const remaining = traffic.remaining(client.clientId);
      response.writeHead(200, {
        ...headers,
        ...(remaining && remainingHeaders(remaining)),
        ...(body !== '' && { 'Content-Type': 'application/json; charset=utf-8' }),
        'Content-Length': Buffer.byteLength(body),
      });
      response.end(body);
    } catch (error) {
      const unavailable = isUnavailable(error);
      log[unavailable ? 'warn' : 'error']({ error, request_id: context.id, path: path.path }, 'request.failed');
      // what broke may be ours alone: the ordinary path tries once more
      if (!unavailable) return false;
      answerUnavailable(response, headers);
    } finally {
      traffic.leave(proven);
    }
    return true;
  }

  /** A flood of refusals is one event: what it costs must not be worth sending it. */
  async #refuse(response: ServerResponse, { client, refusal, context }: TooMany): Promise<void> {
    const { clientId } = client;
    if (refusal.first)
      await this.#settings.trail.record(originOf(clientId, context), clientThrottled(clientId, refusal));
    await this.#settings.traffic.holdBack(refusal);
    const body = JSON.stringify(refusalBody(refusal));
    response.writeHead(refusal.status, {
      ...this.#headers(context),
      ...refusalHeaders(refusal),
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  }

  #headers({ id }: RequestContext): Record<string, string> {
    return {
      'X-Request-Id': id,
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      // a page of another origin is answered with CORS, on the ordinary path
      Vary: 'Origin',
      ...(this.#secure && { 'Strict-Transport-Security': 'max-age=63072000' }),
    };
  }
}

export function originOf(clientId: string, { id, address }: RequestContext): Origin {
  return { actor: { type: 'client', id: clientId }, address, requestId: id };
}

/**
 * Node throws away what nobody has read of a request whose connection was lost. What was asked for counts all the same:
 * a code that came again ends its family, whether or not its bearer waits to hear of it.
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

interface Request {
  readonly path: FastPathEndpoint;
  readonly client: ClientWithSecrets;
  readonly proven: ProvenClient;
  readonly asked: PlainCredentials;
  readonly context: RequestContext;
}

interface TooMany {
  readonly client: ClientWithSecrets;
  readonly refusal: RateLimitRefusal;
  readonly context: RequestContext;
}
