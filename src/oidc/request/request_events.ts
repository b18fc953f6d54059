/**
 * Audit events of a request to the protocol's endpoints. The library emits its events without awaiting the listeners,
 * so the listeners here collect them, and endpoints.ts writes them before the answer is sent.
 */
import { Provider, type Configuration, type ErrorOut, type errors, type KoaContextWithOIDC } from 'oidc-provider';
import { toErrorDescription } from '../../base/error_description.ts';
import type { DetailsOf } from '../../audit/catalogue.ts';
import type { Actor, AuditEvent, Origin } from '../../audit/events.ts';
import { CIBA, DEVICE_CODE } from '../../clients/metadata/flows.ts';
import { requestOf } from '../../http/request_context.ts';
import { grantReference } from '../issuance/issuance.ts';
import { tokenIssued, type IssuedClaims } from '../issuance/token_issued.ts';
import type { Audience } from '../issuance/userinfo_audience.ts';
import { ownPageOf } from './first_party_login.ts';
import { requestedDetails, typesOf } from './requested_details.ts';
import type { PendingWrite } from './pending_write.ts';
import type { TakeBack } from './unanswered_uses.ts';

/** The events, writes and errors that are collected during one request. */
export interface Notes {
  readonly events: AuditEvent[];
  /** Database writes of the request; they are committed with the events. */
  readonly writes: PendingWrite[];
  /** Undo what the request used up at once, such as a DPoP proof, if it is answered with 503. */
  readonly releases: TakeBack[];
  /** True if the database connection broke during the commit, so that its outcome is unknown. */
  mayBeCommitted?: boolean;
  /** The error that the library is about to answer with. */
  refusal?: errors.OIDCProviderError;
  /** The error page that is the answer so far. */
  errorPage?: { readonly body: unknown; readonly show: () => void | Promise<void> };
  /** The exception behind a server_error of the library. */
  failure?: Error;
  /** The account and the audit details of a token, if the grant itself does not hold them. */
  tokenSource?: { readonly accountId?: string | undefined; readonly details: Partial<DetailsOf<'token.issued'>> };
}

const REUSED: Readonly<Record<string, ReuseEvent>> = {
  refresh_token: 'refresh_token.reused',
  [DEVICE_CODE]: 'device_code.reused',
  [CIBA]: 'backchannel_request.reused',
};

const notes = new WeakMap<object, Notes>();

const jwtClaims = new WeakMap<object, NotedClaims>();

interface NotedClaims extends IssuedClaims {
  readonly aud: Audience;
}

/** Stores the claims of a JWT access token for its `token.issued` event. */
export function noteClaims(token: object, claims: NotedClaims): void {
  jwtClaims.set(token, claims);
}

/** The notes of a request; the first call creates them. */
export function notesOf(ctx: Pick<KoaContextWithOIDC, 'req'>): Notes {
  const found = notes.get(ctx.req) ?? { events: [], writes: [], releases: [] };
  notes.set(ctx.req, found);
  return found;
}

/**
 * The actor and the address of the request. The actor is an authenticated client, the person whose session it is, or
 * anonymous.
 */
export function originOf(ctx: KoaContextWithOIDC): Origin {
  const { id, address } = requestOf(ctx);
  return { actor: actorOf(ctx), address, requestId: id };
}

/** The origin of a request before its actor is authenticated. */
export function anonymousOrigin(ctx: Pick<KoaContextWithOIDC, 'req'>): Origin {
  const { id, address } = requestOf(ctx);
  return { actor: { type: 'anonymous' }, address, requestId: id };
}

/** Subscribes to the events of a provider. Call it for each new provider; a key rotation creates one. */
export function collectEvents(provider: Provider): void {
  provider.on('grant.success', (ctx) => note(ctx, issuedEvent(ctx)));
  provider.on('grant.error', (ctx, error) => {
    if (isPendingPoll(error)) notesOf(ctx).refusal = error;
    else noteRefusal(ctx, 'token.refused', error, { grant_type: parameter(ctx, 'grant_type') });
  });
  provider.on('authorization.success', (ctx) => {
    // device_code_store.ts records the decision about a device
    if (!DEVICE_PAGES.has(ctx.oidc.route)) note(ctx, authorizationEvent(ctx, 'authorization.granted'));
  });
  provider.on('device_authorization.success', (ctx) => note(ctx, authorizationEvent(ctx, 'device.requested')));
  provider.on('device_authorization.error', (ctx, error) => noteRefusal(ctx, 'authorization.refused', error));
  for (const event of ['code_verification.error', 'device_resume.error'] as const) {
    provider.on(event, (ctx, error) => {
      // failed guesses of a user code have an audit event of their own
      if (error.statusCode !== 429) noteRefusal(ctx, 'authorization.refused', error);
    });
  }
  provider.on('authorization.error', (ctx, error) => {
    if (ownPageOf(ctx) === undefined) noteRefusal(ctx, 'authorization.refused', error);
  });
  provider.on('backchannel_authentication.error', (ctx, error) => noteRefusal(ctx, 'authorization.refused', error));
  provider.on('pushed_authorization_request.success', (ctx) =>
    note(ctx, {
      event: 'authorization_request.pushed',
      outcome: 'success',
      ...partiesOf(ctx),
      details: requestedAccess(ctx),
    }),
  );
  provider.on('pushed_authorization_request.error', (ctx, error) =>
    noteRefusal(ctx, 'authorization_request.pushed', error),
  );
  provider.on('introspection.error', (ctx, error) => noteRefusal(ctx, 'token.introspected', error));
  provider.on('revocation.error', (ctx, error) => noteRefusal(ctx, 'token.revoked', error));
  provider.on('userinfo.error', (ctx, error) => noteRefusal(ctx, 'userinfo.refused', error));
  provider.on('end_session.success', (ctx) =>
    note(ctx, { event: 'logout.completed', outcome: 'success', ...partiesOf(ctx) }),
  );
  provider.on('end_session.error', (ctx, error) => noteRefusal(ctx, 'logout.refused', error));
  provider.on('end_session_confirm.error', (ctx, error) => noteRefusal(ctx, 'logout.refused', error));
  provider.on('access_token.destroyed', ({ accountId }) => noteRevoked('access_token', accountId));
  provider.on('refresh_token.destroyed', ({ accountId }) => noteRevoked('refresh_token', accountId));
  provider.on('grant.revoked', (ctx, grantId) => {
    // the token endpoint ends a grant only if a single-use code or token is used twice
    if (ctx.oidc.route === 'token') {
      noteReuse(ctx, REUSED[parameter(ctx, 'grant_type') ?? ''] ?? 'code.reused', grantId);
    }
    note(ctx, {
      event: 'grant.revoked',
      outcome: 'success',
      ...partiesOf(ctx),
      details: { grant_id: grantReference(grantId) },
    });
  });
  provider.on('server_error', (ctx, error) => {
    notesOf(ctx).failure = error;
  });
}

/** Remembers error pages, because the library renders the page before it emits the error event (see endpoints.ts). */
export function noteErrorPages<P extends { readonly renderError: NonNullable<Configuration['renderError']> }>(
  pages: P,
): P {
  return {
    ...pages,
    async renderError(ctx: KoaContextWithOIDC, out: ErrorOut, error: Error) {
      const show = () => pages.renderError(ctx, out, error);
      await show();
      notesOf(ctx).errorPage = { body: ctx.body, show };
    },
  };
}

export function note(ctx: KoaContextWithOIDC, event: AuditEvent): void {
  notesOf(ctx).events.push(event);
}

export type ReuseEvent =
  'code.reused' | 'refresh_token.reused' | 'device_code.reused' | 'backchannel_request.reused' | 'request_uri.reused';

type ReplayEvent = 'assertion.replayed' | 'dpop_proof.replayed' | 'request_object.replayed';

/** Records that a code or token was used twice. Its grant, if it has one, ends. */
export function noteReuse(ctx: KoaContextWithOIDC, event: ReuseEvent, grantId: string | undefined): void {
  const details = { grant_id: grantId && grantReference(grantId) };
  note(ctx, { event, outcome: 'refused', ...partiesOf(ctx), details });
}

/** Records that a client sent a signed object twice that is valid once. */
export function noteReplay(ctx: KoaContextWithOIDC, event: ReplayEvent): void {
  note(ctx, { event, outcome: 'refused', ...partiesOf(ctx) });
}

/** The event for a code or token that the client may use again, because the answer was a 503 without tokens. */
export function undeliveredEvent(ctx: KoaContextWithOIDC): AuditEvent {
  const details = { grant_type: parameter(ctx, 'grant_type') };
  return { event: 'token.undelivered', outcome: 'refused', ...partiesOf(ctx), details };
}

/** The library destroys tokens for many reasons; only the revocation endpoint is a request of the client. */
function noteRevoked(token_type: 'access_token' | 'refresh_token', accountId: string | undefined): void {
  const ctx = Provider.ctx;
  if (ctx?.oidc.route !== 'revocation') return;
  note(ctx, { event: 'token.revoked', outcome: 'success', ...partiesOf(ctx), accountId, details: { token_type } });
}

/** Events whose details have an error code and a reason. */
type RefusalName =
  | `${'token' | 'authorization' | 'userinfo' | 'logout'}.refused`
  | 'token.introspected'
  | 'token.revoked'
  | 'authorization_request.pushed';

function noteRefusal(
  ctx: KoaContextWithOIDC,
  event: RefusalName,
  error: errors.OIDCProviderError,
  details: Pick<DetailsOf<'token.refused'>, 'grant_type'> = {},
): void {
  notesOf(ctx).refusal = error;
  if (isRateLimited(error)) return;
  const { error_description: description } = error;
  const reason = error.error_detail ?? (description && toErrorDescription(description));
  note(ctx, { event, outcome: 'refused', ...partiesOf(ctx), details: { ...details, error: error.error, reason } });
}

function issuedEvent(ctx: KoaContextWithOIDC): AuditEvent {
  const { AccessToken, ClientCredentials, RefreshToken } = ctx.oidc.entities;
  const token = AccessToken ?? ClientCredentials;
  const claims = token && jwtClaims.get(token);
  const { tokenSource } = notesOf(ctx);
  const { clientId, accountId } = partiesOf(ctx);
  return tokenIssued({
    clientId,
    accountId: tokenSource?.accountId ?? accountId,
    grantType: parameter(ctx, 'grant_type'),
    grantId: AccessToken?.grantId,
    // the library knows the API alone
    resource: token && typeof token.aud === 'string' ? token.aud : undefined,
    withUserinfo: Array.isArray(claims?.aud),
    scope: token?.scope,
    expiresInSeconds: token?.expiration,
    claims,
    withRefreshToken: RefreshToken !== undefined,
    authorizationDetails: token?.rar,
    jkt: token?.jkt,
    certificateThumbprint: token?.['x5t#S256'],
    trade: tokenSource?.details,
  });
}

function authorizationEvent(ctx: KoaContextWithOIDC, event: 'authorization.granted' | 'device.requested'): AuditEvent {
  return { event, outcome: 'success', ...partiesOf(ctx), details: requestedAccess(ctx) };
}

function requestedAccess(ctx: KoaContextWithOIDC): DetailsOf<'authorization.granted'> {
  const resources = [ctx.oidc.params?.['resource']].flat().filter((one) => typeof one === 'string');
  return { scope: parameter(ctx, 'scope'), resources, authorization_details_types: typesOf(requestedDetails(ctx)) };
}

/** The client and the account of the request. An unauthenticated client is named too; the actor is then `anonymous`. */
function partiesOf({ oidc }: KoaContextWithOIDC): Pick<AuditEvent, 'clientId' | 'accountId'> {
  return { clientId: oidc.client?.clientId, accountId: oidc.account?.accountId ?? oidc.session?.accountId };
}

/** Routes where a person decides about a device. They have no redirect URI. */
export const DEVICE_PAGES: ReadonlySet<string> = new Set(['code_verification', 'device_resume']);
const PERSONS_ROUTES = new Set([
  'authorization',
  'resume',
  'end_session',
  'end_session_confirm',
  'userinfo',
  ...DEVICE_PAGES,
]);

/** The rate limiter records many refusals of one client as a single event (client_rate_limit.ts). */
function isRateLimited({ statusCode, error }: errors.OIDCProviderError): boolean {
  return statusCode === 429 && error === 'temporarily_unavailable';
}

/** A device polls every few seconds; `authorization_pending` and `slow_down` are not recorded. */
function isPendingPoll({ error }: errors.OIDCProviderError): boolean {
  return error === 'authorization_pending' || error === 'slow_down';
}

function actorOf(ctx: KoaContextWithOIDC): Actor {
  const { oidc } = ctx;
  const accountId = oidc.account?.accountId ?? oidc.session?.accountId;
  if (PERSONS_ROUTES.has(oidc.route)) return accountId ? { type: 'account', id: accountId } : { type: 'anonymous' };
  const authenticated = oidc.client !== undefined && notesOf(ctx).refusal?.error !== 'invalid_client';
  return authenticated ? { type: 'client', id: oidc.client.clientId } : { type: 'anonymous' };
}

function parameter({ oidc }: KoaContextWithOIDC, name: string): string | undefined {
  const value = oidc.params?.[name];
  return typeof value === 'string' ? value.slice(0, 1_000) : undefined;
}
