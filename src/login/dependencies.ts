/** What every step of this room works with. */
import type { Context } from 'koa';
import type { Provider } from 'oidc-provider';
import type { Approval, ApprovingLogin } from '../accounts/approval.ts';
import type { PasswordCheck } from '../accounts/password_check.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Actor, AuditEvent, Origin } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { Database } from '../db/connection.ts';
import { requestOf } from '../http/request_context.ts';
import type { Views } from '../http/views.ts';
import type { LoginAttempts } from '../limits/login_attempts.ts';
import type { Logger } from '../log.ts';
import type { Application, Detail, Page, Permissions } from './pages.ts';

export type Session = Awaited<ReturnType<Provider['Session']['get']>>;

export interface LoginDependencies {
  /** The provider in force: another one after each key rotation, so it is asked for anew at every request. */
  readonly provider: () => Provider;
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly passwords: PasswordCheck;
  readonly attempts: LoginAttempts;
  /** `undefined` where there is no such client (any more). */
  readonly describeClient: (clientId: string) => Promise<Application | undefined>;
  /** Scopes in words: every one that is asked about, each under the API it belongs to. */
  readonly describeScopes: (request: ScopeRequest) => readonly Permissions[];
  /** How long the access lasts that an application asks for; `undefined` where there is no such client. */
  readonly accessLifetimeOf: (clientId: string, asked: AskedAccess) => Promise<AccessLifetime | undefined>;
  readonly approvals: Approvals;
  /** Commits what the library's models store and what a page changes itself together, with its events. */
  readonly changeTogether: ChangeTogether;
  /** Sends a browser to log in, or to log in again, and then to one of our own pages. */
  readonly logIn: (ctx: Context, page: string, session: Session) => Promise<void>;
  /** Authorization details (RFC 9396) in words: every one of them, with every member. */
  readonly describeDetails: (authorizationDetails: string, resources: readonly string[]) => readonly Detail[];
  readonly issuer: string;
  /** How long after its login a session ends. */
  readonly sessionAbsoluteTtlSeconds: number;
  /** Whether the admin API answers on the same port as the pages. */
  readonly showsAdminApi: boolean;
  /** The client of a development server's own, to try a login with; elsewhere there is none. */
  readonly demo: (() => Promise<DemoClient | undefined>) | undefined;
  readonly log: Logger;
}

/** A client that may send people back to `<issuer>/try-login/callback`. */
export interface DemoClient {
  readonly client_id: string;
  readonly client_secret: string;
  readonly resource: string;
}

/** Requests that people decide about on a page of their own (CIBA). */
export interface Approvals {
  waiting(accountId: string, now: Date): Promise<readonly Approval[]>;
  find(accountId: string, id: string, now: Date): Promise<Approval | undefined>;
  /** Both answer whether the request still waited. */
  approve(change: UnitOfWork, approval: Approval, grantId: string, login: ApprovingLogin): Promise<boolean>;
  deny(change: UnitOfWork, approval: Approval): Promise<boolean>;
}

/** What one request of a page changes. */
export interface PageChanges {
  /** Runs in the transaction, after what the library's models have stored so far. It may run again. */
  add(write: (change: UnitOfWork) => Promise<void>): void;
  record(event: AuditEvent): void;
}

type ChangeTogether = (ctx: Context, origin: Origin, work: (changes: PageChanges) => Promise<void>) => Promise<void>;

/** What access is asked for, as far as its lifetime depends on it. */
export interface AskedAccess {
  readonly openid: readonly string[];
  readonly resources: readonly string[];
  /** Whether no session of the person's is part of it (CIBA). */
  readonly withoutSession?: boolean;
}

export interface AccessLifetime {
  /** With what it ends, unless it is taken back before. */
  readonly endsWith: 'grant' | 'session' | 'token';
  /** After which time at the latest. */
  readonly seconds: number;
  /** How long it may lie unused, where that ends it before. */
  readonly unusedSeconds?: number | undefined;
}

export interface ScopeRequest {
  readonly openid: readonly string[];
  readonly resources: Readonly<Record<string, readonly string[]>>;
}

export interface LoginContext extends LoginDependencies {
  readonly views: Views<Page>;
}

/** Who did what is recorded below, in words of the audit trail. */
export function originOf(ctx: Context, accountId?: string): Origin {
  const { address, id } = requestOf(ctx);
  const actor: Actor = accountId === undefined ? { type: 'anonymous' } : { type: 'account', id: accountId };
  return { actor, address, requestId: id };
}

/** The client as people are told about it; a link that is not one for a browser is left out. */
export async function findApplication(room: LoginContext, clientId: string): Promise<Application | undefined> {
  const found = await room.describeClient(clientId);
  if (!found) return undefined;
  const { name, clientUri, policyUri, tosUri, caution, asksAlways } = found;
  return {
    name,
    clientUri: webLink(clientUri),
    policyUri: webLink(policyUri),
    tosUri: webLink(tosUri),
    caution,
    asksAlways,
  };
}

function webLink(uri: string | undefined): string | undefined {
  const protocol = uri === undefined ? undefined : URL.parse(uri)?.protocol;
  return protocol === 'https:' || protocol === 'http:' ? uri : undefined;
}
