/**
 * What happened in a request on the protocol's endpoints, as audit events. The library's events are emitted without
 * waiting for anyone, so they are noted here, and written before the answer leaves (see endpoints.ts).
 */
import { Provider, type Configuration, type ErrorOut, type errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { DetailsOf, EventOf } from '../../audit/catalogue.ts';
import type { Actor, AuditEvent, Origin } from '../../audit/events.ts';
import { CIBA, DEVICE_CODE } from '../../clients/metadata/flows.ts';
import { requestOf } from '../../http/request_context.ts';
import { grantReference } from '../storage/grant_reference.ts';
import { ownPageOf } from './first_party_login.ts';
import { askedFor, typesOf } from './requested_details.ts';
import type { PendingWrite } from './pending_write.ts';
import type { TakeBack } from './unanswered_uses.ts';

/** The notes of one request. */
export interface Notes {
  readonly events: AuditEvent[];
  /** What the request changes, committed with the events. */
  readonly writes: PendingWrite[];
  /** Gives back what was used up at once, such as a DPoP proof, where the request is answered with 503. */
  readonly releases: TakeBack[];
  /** Whether it is unknown if the writes were committed, since the connection to the database broke. */
  mayBeCommitted?: boolean;
  /** The refusal that the library is about to answer with. */
  refusal?: errors.OIDCProviderError;
  /** The error page that the answer is so far. */
  errorPage?: { readonly body: unknown; readonly show: () => void | Promise<void> };
  /** What broke, where the library answers with server_error. */
  failure?: Error;
  /** On whose behalf and by what right a token is made, where the grant itself does not say. */
  trade?: { readonly accountId?: string | undefined; readonly details: Partial<DetailsOf<'token.issued'>> };
}

const REUSED: Readonly<Record<string, ReuseEvent>> = {
  refresh_token: 'refresh_token.reused',
  [DEVICE_CODE]: 'device_code.reused',
  [CIBA]: 'backchannel_request.reused',
};

const notes = new WeakMap<object, Notes>();

/** The claims of a JWT access token that say when it is dead (see access_token_state.ts). */
type Lifetime = Readonly<Record<'exp' | 'gen', number>>;

const jwtClaims = new WeakMap<object, Lifetime>();

/** Remembers what a JWT access token says, until its issue is put on record. */
export function noteClaims(token: object, claims: object): void {
  jwtClaims.set(token, claims as Lifetime);
}

export function notesOf(ctx: Pick<KoaContextWithOIDC, 'req'>): Notes {
  const found = notes.get(ctx.req) ?? { events: [], writes: [], releases: [] };
  notes.set(ctx.req, found);
  return found;
}

/** Who asks: a client that has proved itself, the person whose session it is, or nobody that we know. */
export function originOf(ctx: KoaContextWithOIDC): Origin {
  const { id, address } = requestOf(ctx);
  return { actor: actorOf(ctx), address, requestId: id };
}

/** The same before it is known who asks. */
export function anonymously(ctx: Pick<KoaContextWithOIDC, 'req'>): Origin {
  const { id, address } = requestOf(ctx);
  return { actor: { type: 'anonymous' }, address, requestId: id };
}

/** Listens to a provider. Call it for each one that is built: a rotation of keys builds a new one. */
export function takeNotes(provider: Provider): void {
  provider.on('grant.success', (ctx) => note(ctx, issued(ctx)));
  provider.on('grant.error', (ctx, error) => {
    if (stillWaits(error)) notesOf(ctx).refusal = error;
    else refused(ctx, 'token.refused', error, { grant_type: parameter(ctx, 'grant_type') });
  });
  provider.on('authorization.success', (ctx) => {
    // what was decided about a device is on record with the decision itself (device_code_store.ts)
    if (!DEVICE_PAGES.has(ctx.oidc.route)) note(ctx, granted(ctx, 'authorization.granted'));
  });
  provider.on('device_authorization.success', (ctx) => note(ctx, granted(ctx, 'device.requested')));
  provider.on('device_authorization.error', (ctx, error) => refused(ctx, 'authorization.refused', error));
  for (const event of ['code_verification.error', 'device_resume.error'] as const) {
    provider.on(event, (ctx, error) => {
      // too many guesses are on record as that
      if (error.statusCode !== 429) refused(ctx, 'authorization.refused', error);
    });
  }
  provider.on('authorization.error', (ctx, error) => {
    if (ownPageOf(ctx) === undefined) refused(ctx, 'authorization.refused', error);
  });
  provider.on('backchannel_authentication.error', (ctx, error) => refused(ctx, 'authorization.refused', error));
  provider.on('pushed_authorization_request.success', (ctx) =>
    note(ctx, { event: 'authorization_request.pushed', outcome: 'success', ...whom(ctx), details: asked(ctx) }),
  );
  provider.on('pushed_authorization_request.error', (ctx, error) =>
    refused(ctx, 'authorization_request.pushed', error),
  );
  provider.on('introspection.error', (ctx, error) => refused(ctx, 'token.introspected', error));
  provider.on('revocation.error', (ctx, error) => refused(ctx, 'token.revoked', error));
  provider.on('userinfo.error', (ctx, error) => refused(ctx, 'userinfo.refused', error));
  provider.on('end_session.success', (ctx) =>
    note(ctx, { event: 'logout.completed', outcome: 'success', ...whom(ctx) }),
  );
  provider.on('end_session.error', (ctx, error) => refused(ctx, 'logout.refused', error));
  provider.on('end_session_confirm.error', (ctx, error) => refused(ctx, 'logout.refused', error));
  provider.on('access_token.destroyed', ({ accountId }) => ended('access_token', accountId));
  provider.on('refresh_token.destroyed', ({ accountId }) => ended('refresh_token', accountId));
  provider.on('grant.revoked', (ctx, grantId) => {
    // the token endpoint ends a grant for one reason only: what may be used once came again
    if (ctx.oidc.route === 'token') {
      noteReuse(ctx, REUSED[parameter(ctx, 'grant_type') ?? ''] ?? 'code.reused', grantId);
    }
    note(ctx, {
      event: 'grant.revoked',
      outcome: 'success',
      ...whom(ctx),
      details: { grant_id: grantReference(grantId) },
    });
  });
  provider.on('server_error', (ctx, error) => {
    notesOf(ctx).failure = error;
  });
}

/** Remembers error pages, which the library draws before it tells of the error: see endpoints.ts. */
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

/** Something single-use came again, and its family, if it has one, is gone. */
export function noteReuse(ctx: KoaContextWithOIDC, event: ReuseEvent, grantId: string | undefined): void {
  const details = { grant_id: grantId && grantReference(grantId) };
  note(ctx, { event, outcome: 'refused', ...whom(ctx), details });
}

/** Something that a client signed for one use came again. */
export function noteReplay(ctx: KoaContextWithOIDC, event: ReplayEvent): void {
  note(ctx, { event, outcome: 'refused', ...whom(ctx) });
}

/** What the request used up may be used again, for its answer gave nothing away. */
export function undelivered(ctx: KoaContextWithOIDC): AuditEvent {
  const details = { grant_type: parameter(ctx, 'grant_type') };
  return { event: 'token.undelivered', outcome: 'refused', ...whom(ctx), details };
}

/** The library destroys tokens for many reasons; here it is because their client asked for it. */
function ended(token_type: 'access_token' | 'refresh_token', accountId: string | undefined): void {
  const ctx = Provider.ctx;
  if (ctx?.oidc.route !== 'revocation') return;
  note(ctx, { event: 'token.revoked', outcome: 'success', ...whom(ctx), accountId, details: { token_type } });
}

/** What has an error code and a reason. */
type RefusalName =
  | `${'token' | 'authorization' | 'userinfo' | 'logout'}.refused`
  | 'token.introspected'
  | 'token.revoked'
  | 'authorization_request.pushed';

function refused(
  ctx: KoaContextWithOIDC,
  event: RefusalName,
  error: errors.OIDCProviderError,
  details: Pick<DetailsOf<'token.refused'>, 'grant_type'> = {},
): void {
  notesOf(ctx).refusal = error;
  if (isOneOfMany(error)) return;
  const reason = error.error_detail ?? error.error_description;
  note(ctx, { event, outcome: 'refused', ...whom(ctx), details: { ...details, error: error.error, reason } });
}

function issued(ctx: KoaContextWithOIDC): AuditEvent {
  const { AccessToken, ClientCredentials, RefreshToken } = ctx.oidc.entities;
  const token = AccessToken ?? ClientCredentials;
  const claims = token && jwtClaims.get(token);
  const details: IssuedDetails = {
    grant_type: parameter(ctx, 'grant_type'),
    resource: token && typeof token.aud === 'string' ? token.aud : undefined,
    scope: token?.scope,
    authorization_details_types: typesOf(token?.rar),
    // the jti of an opaque token is the token itself
    jti: claims && token?.jti,
    expires_in_seconds: token?.expiration,
    expires_at: claims && new Date(claims.exp * 1000).toISOString(),
    generation: claims?.gen,
    with_refresh_token: RefreshToken !== undefined,
    jkt: token?.jkt,
    x5t_s256: token?.['x5t#S256'],
    grant_id: AccessToken?.grantId === undefined ? undefined : grantReference(AccessToken.grantId),
  };
  const { trade } = notesOf(ctx);
  const { clientId, accountId } = whom(ctx);
  return tokenIssued({
    clientId,
    accountId: trade?.accountId ?? accountId,
    details: { ...details, ...trade?.details },
  });
}

/** What is on record about every token, whichever way it was asked for. */
export interface IssuedDetails {
  readonly grant_type: string | undefined;
  readonly resource: string | undefined;
  readonly scope: string | undefined;
  readonly jti: string | undefined;
  readonly expires_in_seconds: number | undefined;
  /** In ISO 8601, with milliseconds. */
  readonly expires_at: string | undefined;
  /** The client's token generation, as the token has it. */
  readonly generation: number | undefined;
  readonly with_refresh_token: boolean;
  readonly jkt?: string | undefined;
  readonly x5t_s256?: string | undefined;
  readonly authorization_details_types?: readonly string[] | undefined;
  readonly grant_id?: string | undefined;
}

export function tokenIssued(
  about: Pick<AuditEvent, 'clientId' | 'accountId'> & { readonly details: IssuedDetails },
): EventOf<'token.issued'> & AuditEvent {
  return { event: 'token.issued', outcome: 'success', ...about, details: { ...about.details } };
}

function granted(ctx: KoaContextWithOIDC, event: 'authorization.granted' | 'device.requested'): AuditEvent {
  return { event, outcome: 'success', ...whom(ctx), details: asked(ctx) };
}

function asked(ctx: KoaContextWithOIDC): DetailsOf<'authorization.granted'> {
  const resources = [ctx.oidc.params?.['resource']].flat().filter((one) => typeof one === 'string');
  return { scope: parameter(ctx, 'scope'), resources, authorization_details_types: typesOf(askedFor(ctx)) };
}

/** Named even where the caller has not proved to be that client: the trail then says `anonymous` as the actor. */
function whom({ oidc }: KoaContextWithOIDC): Pick<AuditEvent, 'clientId' | 'accountId'> {
  return { clientId: oidc.client?.clientId, accountId: oidc.account?.accountId ?? oidc.session?.accountId };
}

/** Where a person decides about a device: no redirect URI leads there, and none away. */
export const DEVICE_PAGES: ReadonlySet<string> = new Set(['code_verification', 'device_resume']);
const PERSONS_ROUTES = new Set([
  'authorization',
  'resume',
  'end_session',
  'end_session_confirm',
  'userinfo',
  ...DEVICE_PAGES,
]);

/** A flood is on record as one event (client_rate_limit.ts). */
function isOneOfMany({ statusCode, error }: errors.OIDCProviderError): boolean {
  return statusCode === 429 && error === 'temporarily_unavailable';
}

/** A device asks every few seconds: that nothing has been decided yet, or that it asks too often, is no event. */
function stillWaits({ error }: errors.OIDCProviderError): boolean {
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
