/** What the login pages need from the rest of the node. */
import type { Context } from 'koa';
import type { Provider } from 'oidc-provider';
import type { Approval, ApprovingLogin } from '../accounts/approval.ts';
import type { PasswordCheck } from '../accounts/password_check.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Actor, AuditEvent, Origin } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { LinkSender } from '../account_links/link_sender.ts';
import type { Disablers } from '../account_links/link_use.ts';
import type { Notices } from '../account_links/notices.ts';
import type { Database, Reader, Tx } from '../db/connection.ts';
import type { Factors } from '../factors/factors.ts';
import { requestOf } from '../http/request_context.ts';
import type { Views } from '../http/views.ts';
import type { LoginAttempts } from '../limits/login_attempts.ts';
import type { MailRequests } from '../limits/mail_requests.ts';
import type { Logger } from '../log.ts';
import type { DevelopmentMails } from '../mail/development_mails.ts';
import type { Argon2id } from '../password_hashing/argon2id.ts';
import type { PasswordRules } from '../passwords/password_rules.ts';
import type { Vault } from '../vault/vault.ts';
import type { Application, Caution, Detail, Page } from './pages.ts';
import { fill, TEXTS } from './texts/texts.ts';

export type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>;
export type Session = Awaited<ReturnType<Provider['Session']['get']>>;

/** An interaction, as far as it says what a login must be. */
type LoginRequest = Pick<Interaction, 'params' | 'session'>;

export interface LoginDependencies {
  /** Returns the current provider. Key rotation replaces it, so call this at each request. */
  readonly provider: () => Provider;
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly passwords: PasswordCheck;
  readonly passwordRules: PasswordRules;
  readonly argon2id: Argon2id;
  readonly attempts: LoginAttempts;
  readonly factors: Factors;
  /** Whether the person has scopes of the admin API. */
  readonly isAdmin: (reader: Reader, accountId: string) => Promise<boolean>;
  /** Returns the scopes of the admin API that only this person has. Called in the transaction that ends the account. */
  readonly soleAdminScopes: (tx: Tx, accountId: string) => Promise<readonly string[]>;
  /** Returns what the request needs of the login of this account; `params` are empty for the server's own pages. */
  readonly demandOf: (request: LoginRequest, accountId: string) => Promise<LoginDemand>;
  /**
   * Returns the context that an admin requires of logins of this account in particular: at this server, for its groups,
   * or for a resource of its roles. The account needs a code of an admin for its first factor then.
   */
  readonly demandOnAccount: (accountId: string) => Promise<string | undefined>;
  readonly mailRequests: MailRequests;
  readonly links: LinkSender;
  readonly notices: Notices;
  readonly disablers: Disablers;
  readonly vault: Vault;
  /** Returns a digest of an e-mail address, which names the receiver of a message. */
  readonly digestReceiver: (email: string) => string;
  /** The mails of a development server; `undefined` on other servers. */
  readonly developmentMails: DevelopmentMails | undefined;
  /** Returns `undefined` if the client does not exist. */
  readonly describeClient: (clientId: string) => Promise<DescribedClient | undefined>;
  /** Describes the requested scopes, grouped by API. */
  readonly describeScopes: (request: ScopeRequest) => readonly DescribedApi[];
  /** Returns how long the requested access lasts; `undefined` if the client does not exist. */
  readonly accessLifetimeOf: (clientId: string, asked: AskedAccess) => Promise<AccessLifetime | undefined>;
  readonly approvals: Approvals;
  /** Commits the writes of oidc-provider's models, the changes of the page, and their events in one transaction. */
  readonly changeTogether: ChangeTogether;
  /** Redirects the browser to a login, and then to one of our own pages. */
  readonly logIn: (ctx: Context, page: string, session: Session, how?: OwnLogin) => Promise<void>;
  /** Gives the session another id. */
  readonly renewSession: (session: Session) => SessionRenewal;
  /** Describes all authorization details (RFC 9396) with all their members. */
  readonly describeDetails: (authorizationDetails: string, resources: readonly string[]) => readonly Detail[];
  readonly issuer: string;
  /** Maximum age of a session, in seconds after the login. */
  readonly sessionAbsoluteTtlSeconds: number;
  /** Whether the admin API is on the same port as the pages. */
  readonly showsAdminApi: boolean;
  /** Returns the demo client of a development server, used to try a login; `undefined` on other servers. */
  readonly demo: (() => Promise<DemoClient | undefined>) | undefined;
  readonly log: Logger;
}

export interface OwnLogin {
  /** Whether the login must be with the strongest factor of the account. */
  readonly strongest: boolean;
  /** Whether the page adds factors: an account of which a factor is demanded needs more than its password for the first. */
  readonly enrols?: boolean;
}

/** What a request needs of the login, as authentication contexts. */
export interface LoginDemand {
  /** The weakest context that the request accepts; `undefined`: any. */
  readonly required: string | undefined;
  /** The weakest context with which the login is as strong as the request asks for. */
  readonly wished: string | undefined;
  /** Whether the login must be recent, or confirm the person's identity: a remembered device is then not enough. */
  readonly isRepeated: boolean;
}

/** A client with the redirect URI `<issuer>/try-login/callback`. */
export interface DemoClient {
  readonly client_id: string;
  readonly client_secret: string;
  readonly resource: string;
}

export interface SessionRenewal {
  /** Stores the new id. Returns false if the session has ended or has another id by now. */
  store(tx: Tx): Promise<boolean>;
  /** Sends the cookie with the new id, after the commit. */
  send(ctx: Context): void;
}

/** Backchannel authentication requests (CIBA) that people approve or deny on the approval page. */
export interface Approvals {
  waiting(accountId: string, now: Date): Promise<readonly Approval[]>;
  find(accountId: string, id: string, now: Date): Promise<Approval | undefined>;
  /** `approve` and `deny` return whether the request was still waiting. */
  approve(work: UnitOfWork, approval: Approval, grantId: string, login: ApprovingLogin): Promise<boolean>;
  deny(work: UnitOfWork, approval: Approval): Promise<boolean>;
}

/** Collects the changes that one request of a page makes. */
export interface PageChanges {
  /**
   * Adds a change that runs in the transaction, after the writes of oidc-provider's models. It may run more than once.
   */
  add(write: (work: UnitOfWork) => Promise<void>): void;
  record(event: AuditEvent): void;
}

type ChangeTogether = (ctx: Context, origin: Origin, collect: (changes: PageChanges) => Promise<void>) => Promise<void>;

/** A client as the rest of the node describes it. */
export interface DescribedClient extends Omit<Application, 'caution'> {
  readonly caution?: Caution | undefined;
}

/**
 * Permissions of one kind. `account` are scopes of OpenID Connect, by name, and `claims` are single claims. With `api`,
 * they are what this API may read at userinfo with the application's token.
 */
export type DescribedApi =
  | { readonly kind: 'account'; readonly scopes: readonly string[]; readonly api?: string }
  | { readonly kind: 'claims'; readonly claims: readonly string[]; readonly api: string }
  | { readonly kind: 'api'; readonly name: string; readonly scopes: readonly DescribedScope[] };

export interface DescribedScope {
  readonly name: string;
  readonly description: string;
  readonly details?: string | undefined;
  readonly access?: 'read' | 'write' | undefined;
  /** Whether an admin said that the scope only reads, not only its name. */
  readonly isAccessStated?: boolean | undefined;
}

/** The parts of the requested access that determine its lifetime. */
export interface AskedAccess {
  readonly openid: readonly string[];
  readonly resources: readonly string[];
  /** Whether the access does not depend on a session of the person (CIBA). */
  readonly withoutSession?: boolean;
}

export interface AccessLifetime {
  /** What ends the access, unless the person withdraws it earlier. */
  readonly endsWith: 'grant' | 'session' | 'token';
  /** Maximum lifetime in seconds. */
  readonly seconds: number;
  /** Unused time in seconds after which the access ends earlier. */
  readonly unusedSeconds?: number | undefined;
}

export interface ScopeRequest {
  readonly openid: readonly string[];
  readonly resources: Readonly<Record<string, readonly string[]>>;
}

export interface LoginContext extends LoginDependencies {
  readonly views: Views<Page>;
}

/** Returns the origin of audit events: the person if logged in, or else an anonymous caller. */
export function originOfLogin(ctx: Context, accountId?: string): Origin {
  const { address, id } = requestOf(ctx);
  const actor: Actor = accountId === undefined ? { type: 'anonymous' } : { type: 'account', id: accountId };
  return { actor, address, requestId: id };
}

/** Returns what the pages show about the client, without links that are not http or https. */
export async function findApplication(login: LoginContext, clientId: string): Promise<Application | undefined> {
  const found = await login.describeClient(clientId);
  return found && applicationOf(found);
}

/** Returns what the pages show about the client, without links that are not http or https. */
export function applicationOf(client: DescribedClient): Application {
  const { name, clientUri, vettedUri, policyUri, tosUri, caution, asksAlways, contacts, firstParty } = client;
  return {
    name,
    clientUri: webLink(clientUri),
    vettedUri: webLink(vettedUri),
    policyUri: webLink(policyUri),
    tosUri: webLink(tosUri),
    caution: caution && wordCaution(caution),
    asksAlways,
    contacts,
    firstParty,
  };
}

/** Returns the sentence that warns of an application. */
export function wordCaution(caution: Caution): string {
  return fill(TEXTS.caution[caution.reason], 'host' in caution ? { host: caution.host } : {});
}

function webLink(uri: string | undefined): string | undefined {
  const protocol = uri === undefined ? undefined : URL.parse(uri)?.protocol;
  return protocol === 'https:' || protocol === 'http:' ? uri : undefined;
}
