/**
 * The registration endpoint (RFC 7591) and the client configuration endpoint (RFC 7592). Every answer waits for its
 * audit event, and only the answer that creates a secret contains it.
 */
import type { Context, Middleware } from 'koa';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Origin } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { toErrorDescription } from '../base/error_description.ts';
import { Refused } from '../base/refusal.ts';
import type { InvalidationFollower } from '../invalidation/follower.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import { demandNotMet, type ClientDemands } from '../clients/server_requirements.ts';
import { readSector, type FetchDocument } from '../clients/sector.ts';
import { NotCompared, type SecretVerifier } from '../clients/secret_verifier.ts';
import { makeSecret } from '../clients/generated_secret.ts';
import { isUnavailable, type Database } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import { refusalHeaders } from '../http/admission.ts';
import { readJsonBody } from '../http/json_body.ts';
import { requestOf } from '../http/request_context.ts';
import type { FailedAuthentications } from '../limits/failed_authentications.ts';
import type { Registrations } from '../limits/registrations.ts';
import type { RateLimitRefusal } from '../limits/rate_limiter.ts';
import type { Logger } from '../log.ts';
import type { StatementVerifier } from '../trust/statement_verifier.ts';
import type { Vault } from '../vault/vault.ts';
import { makeRegistrationAccessToken } from './bearer_tokens.ts';
import { clientInformation, firstInformation, REGISTRATION_PATH } from './client_information.ts';
import { policyOfToken } from './initial_access_tokens.ts';
import { underPolicy, type Given } from './allowed_metadata.ts';
import { findPolicy } from './policy_store.ts';
import type { PolicyDirectory } from './policy_directory.ts';
import {
  BROKEN,
  errorOf,
  ofBody,
  ofChange,
  reasonOf,
  refusedMember,
  RegistrationRefused,
  tokenRefused,
  UNAVAILABLE,
  type RegistrationError,
} from './refusal.ts';
import {
  demandIdentity,
  findByToken,
  registerClient,
  removeRegistration,
  replaceRegistration,
  withHeld,
  withStatement,
  type Credentials,
} from './self_registered_clients.ts';
import { readStatement } from './software_statements.ts';

export interface RegistrationDependencies {
  readonly issuer: string;
  readonly database: Database;
  readonly vault: Vault;
  readonly trail: AuditTrail;
  readonly changes: InvalidationFollower;
  readonly verifier: SecretVerifier;
  readonly statements: StatementVerifier;
  readonly policies: PolicyDirectory;
  readonly limits: Registrations;
  readonly failures: FailedAuthentications;
  readonly fetchDocument: FetchDocument;
  readonly clientDemands: ClientDemands;
  readonly log: Logger;
}

const METHODS: Readonly<Record<'registration' | 'management', string>> = {
  registration: 'POST, OPTIONS',
  management: 'GET, PUT, DELETE, OPTIONS',
};
const CREDENTIALS = /^Bearer +([A-Za-z0-9\-._~+/]+=*)$/i;
const CORS_MAX_AGE_SECONDS = '3600';
const RETRY_AFTER_SECONDS = '1';

/** Handles the registration endpoint and the paths below it; passes other paths on. */
export function registrationEndpoint(dependencies: RegistrationDependencies): Middleware {
  return async (ctx, next) => {
    const clientId = clientIdOf(ctx.path);
    if (clientId === undefined) return next();
    ctx.set({ 'Cache-Control': 'no-store', Pragma: 'no-cache', 'X-Content-Type-Options': 'nosniff' });
    allowEveryOrigin(ctx, clientId === '' ? METHODS.registration : METHODS.management);
    if (ctx.method === 'OPTIONS') {
      ctx.status = 204;
      return;
    }
    const call = { ...dependencies, ctx, clientId, now: requestOf(ctx).now, presented: bearerOf(ctx) };
    try {
      await answer(call);
    } catch (error) {
      await answerFailure(call, error);
    }
  };
}

interface Call extends RegistrationDependencies {
  readonly ctx: Context;
  /** Empty at the registration endpoint itself. */
  readonly clientId: string;
  readonly now: Date;
  /** The presented bearer token; `undefined` if there is none, empty if it is malformed. */
  readonly presented: string | undefined;
}

async function answer(call: Call): Promise<void> {
  const { ctx, clientId, limits } = call;
  const handler =
    clientId === '' ? { POST: register }[ctx.method] : { GET: show, PUT: replace, DELETE: remove }[ctx.method];
  if (!handler) {
    ctx.set('Allow', clientId === '' ? METHODS.registration : METHODS.management);
    send(ctx, { status: 405, error: 'invalid_request', description: 'method not allowed; see the Allow header' });
    return;
  }
  if (clientId !== '') {
    const admission = await limits.admitManagement(requestOf(ctx).address);
    if (!admission.admitted) return refuseForNow(call, admission);
  }
  await handler(call);
}

/**
 * Validates the token before it reads the body. The uses of a valid token limit its registrations, so its address may
 * be a gateway with many clients; but a refused registration uses nothing up, and counts for the address.
 */
async function register(call: Call): Promise<void> {
  const { ctx, database, policies, presented, now, limits } = call;
  const anonymous = presented === undefined;
  const name = anonymous ? policies.open?.name : await policyOfToken(database, presented, now);
  const admit = () => limits.admitRegistration(requestOf(ctx).address, { anonymous });
  const hasToken = !anonymous && name !== undefined;
  const admission = hasToken ? undefined : await admit();
  if (admission?.admitted === false) return refuseForNow(call, admission);
  try {
    await registerUnder(call, name);
  } catch (error) {
    const isRefused = error instanceof RegistrationRefused || error instanceof Refused;
    const refusal = hasToken && isRefused ? await admit() : undefined;
    if (refusal?.admitted === false) return refuseForNow(call, refusal);
    throw error;
  }
}

/** Uses the token up in the final transaction. */
async function registerUnder(call: Call, name: string | undefined): Promise<void> {
  const { ctx, database, presented, fetchDocument } = call;
  const policy = name === undefined ? undefined : (await findPolicy(database, name))?.policy;
  if (!policy) throw tokenRefused(presented !== undefined);
  const { software_statement: jwt, ...given } = await readMembers(ctx);
  const statement = await readStatement(call, policy, jwt);
  const metadata = underPolicy(policy, withStatement(given, statement));
  refuseUnmetDemand(call, metadata);
  const { address } = requestOf(ctx);
  const sector = await readSector(metadata, (url) => fetchDocument(url, address));
  const request = { policy: policy.name, initialAccessToken: presented, address, given, statement, sector };
  const credentials = await prepareCredentials(call);
  const registered = await inChange(call, (change) => registerClient(change, request, credentials));
  ctx.status = 201;
  ctx.body = firstInformation(registered, call);
}

async function show(call: Call): Promise<void> {
  const client = await presentedClient(call);
  call.ctx.body = clientInformation(client, call);
}

async function replace(call: Call): Promise<void> {
  const { ctx, clientId, presented = '' } = call;
  const client = await presentedClient(call);
  const given = await readMembers(ctx);
  const { client_secret: secret } = given;
  const secretIsRight = secret === undefined || (await isRight(call, client, secret));
  demandIdentity(client, given, secretIsRight);
  const { client_id: _, client_secret: __, software_statement: ___, ...members } = given;
  const sector = await sectorAfter(call, client, members);
  const credentials = await prepareCredentials(call);
  const replaced = await inChange(
    call,
    (change) => replaceRegistration(change, { clientId, presented, given: members, sector }, credentials),
    clientId,
  );
  ctx.body = firstInformation(replaced, call);
}

/** The sector document for the client's sector after the update. */
async function sectorAfter(call: Call, client: ClientWithSecrets, members: Given) {
  const { ctx, database, fetchDocument } = call;
  const found = client.registration && (await findPolicy(database, client.registration.policy));
  if (!found) throw tokenRefused();
  const metadata = underPolicy(found.policy, withHeld(client, members));
  refuseUnmetDemand(call, metadata);
  return readSector(metadata, (url) => fetchDocument(url, requestOf(ctx).address), client.metadata);
}

/** Refuses metadata that does not meet this server's requirements for all clients. */
function refuseUnmetDemand({ clientDemands }: Call, metadata: ClientMetadata): void {
  const unmet = demandNotMet(metadata, clientDemands);
  if (unmet) throw refusedMember(unmet.member, unmet.detail);
}

async function remove(call: Call): Promise<void> {
  const { ctx, clientId, presented = '' } = call;
  await presentedClient(call);
  await inChange(call, (change) => removeRegistration(change, clientId, presented), clientId);
  ctx.status = 204;
}

async function presentedClient({ database, clientId, presented }: Call): Promise<ClientWithSecrets> {
  const client = presented ? await findByToken(database, clientId, presented) : undefined;
  if (!client) throw tokenRefused(presented !== undefined);
  return client;
}

/**
 * Reads the body. At registration, members that the server sets are replaced regardless of their value (RFC 7591, 3.2.1); at
 * an update, `demandIdentity` checks them first.
 */
async function readMembers(ctx: Context): Promise<Given> {
  const { value } = await readJsonBody(ctx, ['application/json']).catch((error: unknown) => {
    throw error instanceof Refused ? ofBody(error) : error;
  });
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Given;
  throw new RegistrationRefused({ reason: 'request', status: 400, detail: 'the body must be a JSON object' });
}

async function isRight({ ctx, verifier, now }: Call, client: ClientWithSecrets, secret: unknown): Promise<boolean> {
  if (typeof secret !== 'string') return false;
  const { address } = requestOf(ctx);
  return (await verifier.verify(client, { secret, address }, now).catch(ignoreNotCompared)) !== undefined;
}

function ignoreNotCompared(error: unknown): undefined {
  if (!(error instanceof NotCompared)) throw error;
}

async function prepareCredentials({ vault, now }: Call): Promise<Credentials> {
  return {
    registrationAccessToken: makeRegistrationAccessToken(),
    clientSecret: makeSecret(),
    pepper: await vault.current('pepper', now),
  };
}

/** Runs `work` in a transaction; resolves when the change is in force on this node. */
async function inChange<T>(call: Call, work: (change: UnitOfWork) => Promise<T>, clientId?: string): Promise<T> {
  const { database, trail, changes, now, log, ctx } = call;
  const done = await transact(database, (tx) => work({ tx, trail, origin: originOf(ctx, clientId), now }));
  // the change is committed; if this node can't read the invalidation log now, it does so later, and the client must
  // get the answer
  await changes
    .catchUp()
    .catch((error: unknown) => log.warn({ error, request_id: requestOf(ctx).id }, 'registration.change_not_followed'));
  return done;
}

/** The actor is the client if it presented its token; a registration is anonymous. */
function originOf(ctx: Context, clientId?: string): Origin {
  const { id, address } = requestOf(ctx);
  return {
    actor: clientId === undefined ? { type: 'anonymous' } : { type: 'client', id: clientId },
    address,
    requestId: id,
  };
}

/** The client id in the path; empty for the registration endpoint, `undefined` for other paths. */
function clientIdOf(path: string): string | undefined {
  if (path === REGISTRATION_PATH) return '';
  return /^\/register\/([A-Za-z0-9_]{1,100})$/.exec(path)?.[1];
}

function bearerOf(ctx: Context): string | undefined {
  const header = ctx.get('Authorization');
  return header === '' ? undefined : (CREDENTIALS.exec(header)?.[1] ?? '');
}

/**
 * These endpoints use no cookies, so pages of any origin may call them, for applications in browsers that register
 * themselves.
 */
function allowEveryOrigin(ctx: Context, methods: string): void {
  ctx.set({ 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': 'WWW-Authenticate, Retry-After' });
  if (ctx.method !== 'OPTIONS') return;
  ctx.set({
    'Access-Control-Allow-Methods': methods,
    'Access-Control-Allow-Headers': 'Authorization, Content-Type, MCP-Protocol-Version',
    'Access-Control-Max-Age': CORS_MAX_AGE_SECONDS,
  });
}

/** Only the first of a series of refusals is recorded. */
async function refuseForNow(
  { ctx, trail }: Call,
  refused: Pick<RateLimitRefusal, 'retryAfterSeconds' | 'quota' | 'first'>,
) {
  const { retryAfterSeconds, quota, first } = refused;
  if (first) {
    const details = { limit: quota?.name, retry_after_seconds: retryAfterSeconds };
    await trail.record(originOf(ctx), { event: 'registration.throttled', outcome: 'refused', details });
  }
  ctx.set(refusalHeaders({ status: 429, retryAfterSeconds, quota }));
  send(ctx, {
    status: 429,
    error: 'slow_down',
    description: 'too many requests from your address; try again later',
  });
}

async function answerFailure(call: Call, error: unknown): Promise<void> {
  const { ctx, log, trail, clientId } = call;
  try {
    const refused = error instanceof Refused ? ofChange(error) : error;
    if (!(refused instanceof RegistrationRefused)) throw refused;
    const { refusal } = refused;
    // counts presented tokens only, against guessing
    const tooMany = refusal.reason === 'token' && refusal.presented && (await countFailure(call));
    if (tooMany) return await refuseForNow(call, tooMany);
    const wire = errorOf(refusal);
    const details = { error: wire.error, reason: reasonOf(refusal) };
    const client = clientId === '' ? {} : { clientId };
    const event = { event: 'registration.refused', outcome: 'refused', ...client, details } as const;
    await trail.refusals.record(originOf(ctx), event);
    if (wire.status === 401) ctx.set('WWW-Authenticate', challenge(call));
    send(ctx, wire);
  } catch (failure) {
    const unavailable = isUnavailable(failure);
    const fields = { error: failure, request_id: requestOf(ctx).id };
    log[unavailable ? 'warn' : 'error'](fields, 'registration.failed');
    if (unavailable) ctx.set('Retry-After', RETRY_AFTER_SECONDS);
    send(ctx, unavailable ? UNAVAILABLE : BROKEN);
  }
}

function countFailure({ ctx, failures, clientId }: Call): Promise<RateLimitRefusal | undefined> {
  return failures.count(clientId === '' ? undefined : clientId, requestOf(ctx).address);
}

/** RFC 6750, 3.1: a request without a token gets no error code. */
function challenge({ issuer, presented }: Call): string {
  return `Bearer realm="${issuer}"${presented === undefined ? '' : ', error="invalid_token"'}`;
}

function send(ctx: Context, { status, error, description }: RegistrationError): void {
  ctx.status = status;
  ctx.body = { error, error_description: toErrorDescription(description) };
}
