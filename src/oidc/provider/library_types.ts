/**
 * Members of oidc-provider that this server calls or replaces, but that the library's types do not declare. Only these
 * functions cast an object of the library to another type (test/project/layers.test.ts). Check them with each new
 * version of the library.
 */
import type { AccessToken, AllClientMetadata, Client, KoaContextWithOIDC, Provider } from 'oidc-provider';
import type { AccessTokenClaims } from '../../keys/token_verifier.ts';
import type { Person } from '../storage/token_rows.ts';
import type { ADDED_CLAIMS, AddedClaims } from '../issuance/person_claims.ts';
import { nameOfContext } from '../authorization/demanded_context.ts';

export type UrlFor = (name: string, options?: object) => string;

/** Members of a provider that its types do not declare. */
interface ProviderInternals {
  readonly urlFor: UrlFor;
  readonly OIDCContext: {
    readonly prototype: {
      urlFor: UrlFor;
      /** The context of the login, as the tokens of the request name it. */
      readonly acr: string | undefined;
      /** The values of `aud` that the library takes in a client assertion. */
      clientJwtAuthExpectedAudience(): { has(audience: unknown): boolean };
    };
  };
  readonly ReplayDetection: { unique: unknown };
  readonly Client: ClientClass;
  /** The library's types require more values than the constructors do. */
  readonly AccessToken: (new (values: object) => AccessToken) & {
    find(value: unknown, options?: object): Promise<AccessToken | undefined>;
  };
  readonly Grant: new (values: object) => InstanceType<Provider['Grant']>;
  readonly IdToken: IdTokenClass;
  readonly Claims: { readonly prototype: ClaimsInternals };
  readonly Interaction: new (uid: string, payload: object) => { save(ttlSeconds: number): Promise<string> };
  readonly AuthorizationCode: BoundModel;
  readonly RefreshToken: BoundModel & { readonly prototype: SavedToken };
  readonly PushedAuthorizationRequest: { find(id: string, options?: object): Promise<unknown> };
}

/** The library calls all of these members, and does not document that they can be replaced. */
interface ClientClass {
  new (metadata: AllClientMetadata): Client;
  find(id: string): Promise<Client | undefined>;
  prototype: {
    compareClientSecret(this: Client, presented: string): Promise<boolean>;
    grantTypeAllowed(this: Client, grantType: string): boolean;
    responseModeAllowed(this: Client, mode: string | undefined, type: string, profile: unknown): boolean;
    postLogoutRedirectUriAllowed(this: Client, uri: string): boolean;
    /** The library calls this for each client when a person logs out. */
    backchannelLogout(this: Client, accountId: string, sid: string): Promise<void>;
  };
}

/** Signs a JWT for a client, and sets `iss`, `aud`, `iat`, the type and the client's algorithm. */
type IdTokenClass = new (
  claims: object,
  options: { readonly client: Client | undefined; readonly ctx: KoaContextWithOIDC | undefined },
) => {
  mask: object;
  extra: object;
  set(claim: string, value: unknown): void;
  issue(options: { readonly use: 'logout' | 'introspection' }): Promise<string>;
};

/** The claims that the library picks for an ID token or for userinfo. */
interface ClaimsInternals {
  readonly available: { readonly [ADDED_CLAIMS]?: AddedClaims };
  /** The claims that the receiver gets, by name. */
  readonly filter: object;
  result(this: ClaimsInternals): Promise<object>;
}

/** The model of codes or refresh tokens, which may be bound to a key. */
interface BoundModel {
  find(value: string, options?: object): Promise<Bound | undefined>;
}

interface Bound {
  readonly clientId?: string;
  readonly dpopJkt?: string;
  readonly jkt?: string;
}

/** A token generates its value when it is saved. */
export interface SavedToken {
  readonly grantId?: string;
  readonly remainingTTL: number;
  generateTokenId(): string;
}

/** Makes tokens name the requested context that the login satisfies, in place of the login's own. */
export function nameContexts(provider: Provider): void {
  Object.defineProperty(internalsOf(provider).OIDCContext.prototype, 'acr', {
    get(this: KoaContextWithOIDC['oidc']) {
      return nameOfContext(this.session?.acr, this.params ?? {});
    },
  });
}

/** The claims of a JWT access token that the library is about to sign. */
export function claimsOfJwt({ payload }: { readonly payload: object }): AccessTokenClaims {
  return payload as AccessTokenClaims;
}

/** Makes the library's introspection of this token answer with these members too. */
export function answerBesides(token: object, members: object): void {
  const { extra } = token as { readonly extra?: object };
  Object.assign(token, { extra: { ...extra, ...members } });
}

export function internalsOf(provider: Provider): ProviderInternals {
  return provider as unknown as ProviderInternals;
}

/**
 * The members of a client's key store that the library calls. After a failed verification it calls `fresh` and
 * `refresh` and verifies again. For a client with a self-signed certificate it always calls `refresh` and iterates over
 * all keys.
 */
export interface KeyStore {
  [Symbol.iterator](): Iterator<{ readonly 'x5t#S256'?: string }>;
  selectForVerify(options: object): object[];
  fresh(): boolean;
  refresh(): Promise<void>;
  clear(): void;
  add(key: object): void;
}

export function keyStoreOf(client: Client): KeyStore {
  return (client as unknown as { readonly asymmetricKeyStore: KeyStore }).asymmetricKeyStore;
}

/** Returns a Koa context with the library's members; the library's router must have matched the request. */
export function oidcContextOf(ctx: object): KoaContextWithOIDC {
  return ctx as KoaContextWithOIDC;
}

interface SessionInternals {
  readonly uid?: string;
  readonly touched?: boolean;
  readonly destroyed?: boolean;
  readonly oldId?: string;
  readonly exp?: number;
  persist(): Promise<unknown>;
}

/** The person that the request is about, as `provider/people.ts` has found them. */
export function personIn({ oidc }: KoaContextWithOIDC): Person {
  const { account } = oidc;
  if (!account) throw new Error('The person of this request has not been found yet.');
  return account['person'] as Person;
}

export function sessionOf(oidc: Partial<KoaContextWithOIDC['oidc']> | undefined): SessionInternals | undefined {
  return oidc?.session;
}
