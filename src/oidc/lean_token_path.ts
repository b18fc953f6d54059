/**
 * The lean path: client credentials, the bulk of what a token server does, without the library's two dozen steps. It
 * shares with the ordinary path the client's look-up, the check of its secret, the policy, the keys and the audit
 * trail, and it only ever says yes: whatever it doesn't fully understand, and whatever would be refused, it hands over
 * untouched. test/lean_token_path.test.ts sends the same requests down both and compares what comes back.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Origin } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { epochSeconds } from '../base/clock.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import type { SecretUses } from '../clients/secret_uses.ts';
import type { SecretVerifier } from '../clients/secret_verifier.ts';
import { refusalBody, refusalHeaders } from '../http/admission.ts';
import type { Metrics } from '../http/metrics.ts';
import type { OpenRequest, RequestContext } from '../http/request_context.ts';
import type { KeyRing } from '../keys/key_ring.ts';
import type { Refusal, Traffic } from '../limits/traffic.ts';
import type { Logger } from '../log.ts';
import { leanBodyBytes, readLeanRequest, type LeanRequest } from './lean_request.ts';
import { clientThrottled, remainingHeaders } from './client_traffic.ts';
import { tokenIssued } from './notes.ts';
import type { Entitlement, ResourcePolicy } from './resource_policy.ts';
import { answerUnavailable } from './unavailable.ts';

export interface LeanTokenPathSettings {
  readonly issuer: string;
  /** The token endpoint's path, below the issuer's. */
  readonly path: string;
  readonly open: OpenRequest;
  readonly clients: ClientDirectory;
  readonly verifier: SecretVerifier;
  readonly uses: SecretUses;
  readonly policy: ResourcePolicy;
  readonly ring: KeyRing;
  readonly trail: AuditTrail;
  readonly traffic: Traffic;
  readonly metrics: Metrics;
  readonly log: Logger;
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

export class LeanTokenPath {
  readonly #settings: LeanTokenPathSettings;
  readonly #path: string;
  readonly #secure: boolean;
  readonly #fitting = new WeakMap<ClientWithSecrets, boolean>();
  #answers = 0;

  constructor(settings: LeanTokenPathSettings) {
    this.#settings = settings;
    const { protocol, pathname } = new URL(settings.issuer);
    this.#path = pathname.replace(/\/$/, '') + settings.path;
    this.#secure = protocol === 'https:';
    settings.metrics.gauge('gatehouse_lean_answers', 'Token requests answered on the lean path.', () => this.#answers);
  }

  /** Answers what it can in front of `ordinary`, which answers the rest. */
  before(ordinary: RequestListener): RequestListener {
    return (request, response) => {
      const bytes = leanBodyBytes(request, this.#path);
      if (bytes === undefined) return ordinary(request, response);
      const began = performance.now();
      const handOver = (): void => ordinary(request, response);
      // without a body there is nothing to read, and nobody to answer
      request.once('readable', () => {
        const body = request.read() as Buffer | null;
        // as it was found: whoever reads the request next gets all of it
        if (body) request.unshift(body);
        if (body?.length !== bytes) return handOver();
        this.#answer(request, response, body.toString('latin1'), began).then(
          (answered) => answered || handOver(),
          handOver,
        );
      });
    };
  }

  /** Whether there was an answer. Up to the token nothing has happened that the ordinary path could not do again. */
  async #answer(request: IncomingMessage, response: ServerResponse, body: string, began: number): Promise<boolean> {
    const asked = readLeanRequest(request.headers.authorization, body);
    if (!asked) return false;
    const context = this.#settings.open(request);
    const client = await this.#authenticate(asked, context);
    const refusal = client && this.#settings.traffic.refusesClient(client.clientId);
    if (refusal) {
      await this.#refuse(response, { client, refusal, context });
      request.resume();
      return true;
    }
    const entitlement = client && this.#settings.policy.entitlement(client, asked.scope, asked.resource);
    if (!entitlement) return false;
    const turn = this.#settings.traffic.turn(client.clientId);
    if (turn) await turn;
    try {
      const token = this.#sign(client, entitlement, context.now);
      if (!token) return false;
      await this.#finish(response, { client, entitlement, token, context });
    } finally {
      this.#settings.traffic.leave(client.clientId);
    }
    // taken out of the connection, which may bring the next request
    request.resume();
    this.#answers++;
    this.#settings.metrics.observe({ method: 'POST', route: this.#settings.path, status: response.statusCode, began });
    return true;
  }

  async #authenticate(asked: LeanRequest, { address, now }: RequestContext): Promise<ClientWithSecrets | undefined> {
    const { clients, verifier, uses } = this.#settings;
    const client = await clients.find(asked.clientId);
    if (!client || client.revokedAt || client.metadata.token_endpoint_auth_method !== asked.method) return undefined;
    if (!this.#fits(client)) return undefined;
    const secret = await verifier.verify(client, { secret: asked.clientSecret, address }, now);
    if (!secret) return undefined;
    uses.note(secret.secretId, now);
    return client;
  }

  #fits(client: ClientWithSecrets): boolean {
    const known = this.#fitting.get(client);
    if (known !== undefined) return known;
    const { metadata } = client;
    const members = Object.entries(metadata).filter(([, value]) => value !== undefined && value !== false);
    const fits =
      metadata.grant_types.includes('client_credentials') &&
      members.every(([member]) => UNDERSTOOD[member as keyof ClientMetadata]);
    this.#fitting.set(client, fits);
    return fits;
  }

  /** `undefined` where there is no key that signs this quickly. */
  #sign({ clientId, tokenGeneration }: ClientWithSecrets, { resource, scope }: Entitlement, now: Date) {
    const signer = this.#settings.ring.signer(resource.signingAlg);
    if (!signer) return undefined;
    const iat = epochSeconds(now);
    const exp = iat + resource.accessTokenTtlSeconds;
    const jti = randomBytes(32).toString('base64url');
    const value = signer.sign('at+jwt', {
      gen: tokenGeneration,
      jti,
      sub: clientId,
      iat,
      exp,
      scope,
      client_id: clientId,
      iss: this.#settings.issuer,
      aud: resource.identifier,
    });
    return { value, jti, exp };
  }

  /** The answer leaves when its audit event is on disk, here as everywhere. */
  async #finish(
    response: ServerResponse,
    { client, entitlement: { resource, scope }, token, context }: Issued,
  ): Promise<void> {
    const { trail, log, path } = this.#settings;
    const { clientId } = client;
    const expiresInSeconds = resource.accessTokenTtlSeconds;
    const headers = this.#headers(context);
    const remaining = this.#settings.traffic.remaining(clientId);
    if (remaining) Object.assign(headers, remainingHeaders(remaining));
    const event = tokenIssued({
      clientId,
      details: {
        grant_type: 'client_credentials',
        resource: resource.identifier,
        scope,
        jti: token.jti,
        expires_in_seconds: expiresInSeconds,
        expires_at: new Date(token.exp * 1000).toISOString(),
        generation: client.tokenGeneration,
        with_refresh_token: false,
      },
    });
    try {
      await trail.record(originOf(clientId, context), event);
    } catch (error) {
      log.warn({ error, request_id: context.id, path }, 'request.failed');
      answerUnavailable(response, headers);
      return;
    }
    const body = `{"access_token":"${token.value}","expires_in":${expiresInSeconds},"token_type":"Bearer","scope":${JSON.stringify(scope)}}`;
    response.writeHead(200, {
      ...headers,
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
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
      'Content-Length': body.length,
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

function originOf(clientId: string, { id, address }: RequestContext): Origin {
  return { actor: { type: 'client', id: clientId }, address, requestId: id };
}

interface TooMany {
  readonly client: ClientWithSecrets;
  readonly refusal: Refusal;
  readonly context: RequestContext;
}

interface Issued {
  readonly client: ClientWithSecrets;
  readonly entitlement: Entitlement;
  readonly token: { readonly value: string; readonly jti: string; readonly exp: number };
  readonly context: RequestContext;
}
