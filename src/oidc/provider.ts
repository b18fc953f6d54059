/** oidc-provider as an OAuth 2.1 server: everything that its defaults leave open is closed here, each with its reason. */
import {
  errors,
  Provider,
  type Account as OidcAccount,
  type Client,
  type Configuration,
  type KoaContextWithOIDC,
} from 'oidc-provider';
import type { JWK } from 'jose';
import { findAccount } from '../accounts/account.ts';
import type { Clock } from '../base/clock.ts';
import { epochSeconds } from '../base/clock.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { Digest } from '../base/secret.ts';
import { AUTH_METHODS } from '../clients/metadata/authentication.ts';
import { GRANT_TYPES } from '../clients/metadata/flows.ts';
import { CLIENT_ALGS } from '../clients/metadata/pieces.ts';
import type { Database } from '../db/connection.ts';
import type { Egress } from '../egress/egress.ts';
import { fetchThrough } from '../egress/fetch.ts';
import type { UserCodeGuesses } from '../limits/user_code_guesses.ts';
import { createAdapter, grantReference } from './artifacts.ts';
import { demandOurAudience } from './client_assertions.ts';
import { DeviceCodeStore } from './device_codes.ts';
import { deviceFlow, guardDeviceFlow, type DevicePages } from './device_flow.ts';
import { demandProofOfBound, DPOP_ALGS, examineProof, isAboutProof, useProof } from './dpop.ts';
import { loadExistingGrant } from './existing_grant.ts';
import { noteClaims, noteReplay, noteReuse, takeNotes } from './notes.ts';
import { demandPushedRequest } from './pushed_requests.ts';
import { recordOf, useRegisteredClients, type RegisteredClientsSettings } from './registered_clients.ts';
import { useOnce } from './replay.ts';
import { demandRequestObject } from './request_objects.ts';
import type { ResourcePolicy } from './resource_policy.ts';
import { maySee } from './structured_tokens.ts';

/** Pages that the library asks for while it answers; the login room draws them. */
export interface ProviderPages extends DevicePages {
  readonly logoutSource: (ctx: KoaContextWithOIDC, form: string) => void | Promise<void>;
  readonly postLogoutSuccessSource: (ctx: KoaContextWithOIDC) => void | Promise<void>;
}

export interface ProviderSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly clock: Clock;
  readonly egress: Egress;
  readonly clients: RegisteredClientsSettings;
  readonly trail: AuditTrail;
  readonly policy: ResourcePolicy;
  readonly userCodeGuesses: UserCodeGuesses;
  /** Digests a user code under a key; the same on every node. */
  readonly digestUserCode: (userCode: string) => Digest;
  readonly pages: ProviderPages;
  /** Signs cookies; the same on every node. */
  readonly cookieKeys: readonly string[];
  /** What DPoP nonces are made from, 32 bytes; the same on every node. */
  readonly dpopNonceSecret: Buffer;
  readonly refreshGraceSeconds: number;
  readonly refreshTtlSeconds: number;
  readonly refreshAbsoluteTtlSeconds: number;
  readonly sessionTtlSeconds: number;
}

export const ROUTES = {
  authorization: '/authorize',
  pushed_authorization_request: '/par',
  token: '/token',
  introspection: '/introspect',
  revocation: '/revoke',
  userinfo: '/userinfo',
  jwks: '/jwks',
  end_session: '/logout',
  device_authorization: '/device_authorization',
  code_verification: '/device',
} as const;

/** The methods that each path takes, for telling those who use another one. */
export const METHODS: Readonly<Record<string, readonly string[]>> = {
  [ROUTES.authorization]: ['GET', 'POST'],
  [ROUTES.pushed_authorization_request]: ['POST', 'OPTIONS'],
  [ROUTES.token]: ['POST', 'OPTIONS'],
  [ROUTES.introspection]: ['POST', 'OPTIONS'],
  [ROUTES.revocation]: ['POST', 'OPTIONS'],
  [ROUTES.userinfo]: ['GET', 'POST', 'OPTIONS'],
  [ROUTES.jwks]: ['GET', 'OPTIONS'],
  [ROUTES.end_session]: ['GET', 'POST'],
  [ROUTES.device_authorization]: ['POST', 'OPTIONS'],
  [ROUTES.code_verification]: ['GET', 'POST'],
  '/.well-known/openid-configuration': ['GET', 'OPTIONS'],
  '/.well-known/oauth-authorization-server': ['GET', 'OPTIONS'],
};

const SIGNING_ALGS = ['ES256', 'RS256'] as const;
const REUSE_EVENTS: Readonly<Record<string, Parameters<typeof noteReuse>[0]>> = {
  RefreshToken: 'refresh_token.reused',
  PushedAuthorizationRequest: 'request_uri.reused',
};
const OPAQUE_ACCESS_TOKEN_SECONDS = 600;
const CODE_SECONDS = 60;
const DEVICE_CODE_SECONDS = 600;
const ID_TOKEN_SECONDS = 3_600;
const INTERACTION_SECONDS = 1_800;

export function createProvider(settings: ProviderSettings, jwks: readonly JWK[]): Provider {
  const provider = new Provider(settings.issuer, configuration(settings, jwks));
  pinToIssuer(provider);
  useRegisteredClients(provider, settings.clients);
  demandProofOfBound(provider);
  demandPushedRequest(provider);
  (provider.ReplayDetection as { unique: unknown }).unique = useOnceOnAllNodes(settings.database);
  guardDeviceFlow(provider, ROUTES.code_verification, settings.userCodeGuesses);
  takeNotes(provider);
  return provider;
}

/** In the place of the library's own, which reads and then writes. */
function useOnceOnAllNodes(database: Database) {
  return async (issuer: string, jti: string, until: number): Promise<boolean> => {
    const ctx = Provider.ctx;
    if (ctx && isAboutProof(ctx)) {
      await useProof(database, ctx);
      return true;
    }
    const first = await useOnce(database, 'client_assertion', { issuer, jti, until });
    if (!first) noteReplay('assertion.replayed');
    return first;
  };
}

function configuration(settings: ProviderSettings, jwks: readonly JWK[]): Configuration {
  const { policy, database, clock } = settings;
  const tokenSeconds = (
    _: unknown,
    token: { resourceServer?: { accessTokenTTL?: number | undefined } | undefined },
  ): number => token.resourceServer?.accessTokenTTL ?? OPAQUE_ACCESS_TOKEN_SECONDS;
  const artifacts = createAdapter({
    database,
    clock,
    refreshGraceSeconds: settings.refreshGraceSeconds,
    onReuse: (kind, grantId) => noteReuse(REUSE_EVENTS[kind] ?? 'code.reused', grantId),
  });
  return {
    adapter: (kind) => (kind === 'DeviceCode' ? new DeviceCodeStore(settings) : artifacts(kind)),
    jwks: { keys: [...jwks] },
    // whatever the library wants from outside, it gets through the guarded way
    fetch: fetchThrough(settings.egress),
    routes: ROUTES,
    cookies: cookies(settings),
    // OAuth 2.1: the code flow alone, and PKCE for every client
    responseTypes: ['code'],
    pkce: { required: () => true },
    // which URI is meant is said in every request (OpenID Connect Core, 3.1.2.1)
    allowOmittingSingleRegisteredRedirectUri: false,
    clientAuthMethods: [...AUTH_METHODS],
    assertJwtClientAuthClaimsAndHeader: demandOurAudience(settings.issuer, clock),
    enabledJWA: {
      idTokenSigningAlgValues: [...SIGNING_ALGS],
      clientAuthSigningAlgValues: [...CLIENT_ALGS],
      userinfoSigningAlgValues: [...SIGNING_ALGS],
      authorizationSigningAlgValues: [...SIGNING_ALGS],
      dPoPSigningAlgValues: [...DPOP_ALGS],
      requestObjectSigningAlgValues: [...CLIENT_ALGS],
    },
    scopes: ['openid', 'offline_access'],
    claims: { openid: ['sub'], profile: ['name', 'updated_at'], email: ['email', 'email_verified'] },
    // a token for an API can't be used at userinfo, so who asked for the claims finds them in the ID token
    conformIdTokenClaims: false,
    clientBasedCORS: (_ctx, origin, client) =>
      client.tokenEndpointAuthMethod === 'none' &&
      // `null` is what every sandboxed page sends, and what a redirect URI of a scheme of its own has for an origin
      origin !== 'null' &&
      (client.redirectUris ?? []).some((uri) => URL.parse(uri)?.origin === origin),
    findAccount: async (_ctx, accountId) => {
      const account = await findAccount(database, accountId);
      if (!account || account.disabledAt) return undefined;
      const { email, emailVerified, name, updatedAt } = account;
      return {
        accountId,
        claims: () => ({
          sub: accountId,
          email,
          email_verified: emailVerified,
          ...(name !== null && { name }),
          updated_at: epochSeconds(updatedAt),
        }),
      } satisfies OidcAccount;
    },
    loadExistingGrant: loadExistingGrant(database, clock),
    // whoever registered for refresh tokens gets them; without offline_access they end with the session
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: () => true,
    formats: { customizers: { jwt: (_ctx, token, { payload }) => noteClaims(token, payload) } },
    extraTokenClaims: (_ctx, token) => {
      if (!('aud' in token) || token.aud === undefined || !token.client) return undefined;
      const { tokenGeneration } = recordOf(token.client);
      const grantId = 'grantId' in token ? token.grantId : undefined;
      return { gen: tokenGeneration, ...(typeof grantId === 'string' && { gid: grantReference(grantId) }) };
    },
    renderError: settings.pages.renderError,
    interactions: {
      url: (_ctx, { uid }) => `${new URL(settings.issuer).pathname.replace(/\/$/, '')}/interaction/${uid}`,
    },
    ttl: {
      AccessToken: tokenSeconds,
      ClientCredentials: tokenSeconds,
      AuthorizationCode: CODE_SECONDS,
      DeviceCode: DEVICE_CODE_SECONDS,
      IdToken: ID_TOKEN_SECONDS,
      Interaction: INTERACTION_SECONDS,
      RefreshToken: settings.refreshTtlSeconds,
      Grant: settings.refreshAbsoluteTtlSeconds,
      Session: settings.sessionTtlSeconds,
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: deviceFlow({ pages: settings.pages, policy }),
      dPoP: { enabled: true, nonceSecret: settings.dpopNonceSecret, requireNonce: examineProof(clock) },
      pushedAuthorizationRequests: { enabled: true },
      jwtResponseModes: { enabled: true },
      requestObjects: { enabled: true, assertJwtClaimsAndHeader: demandRequestObject(clock) },
      claimsParameter: { enabled: false },
      userinfo: { enabled: true },
      revocation: { enabled: true, allowedPolicy: mayRevoke },
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) =>
          maySee(recordOf(client), { clientId: token.clientId, audience: 'aud' in token ? token.aud : undefined }),
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: settings.pages.logoutSource,
        postLogoutSuccessSource: settings.pages.postLogoutSuccessSource,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: policy.defaultResource,
        getResourceServerInfo: policy.resourceServer,
        // a code or refresh token that was granted for an API yields a token for that API
        useGrantedResource: () => true,
      },
    },
    discovery: { grant_types_supported: [...GRANT_TYPES] },
  };
}

/** Its own tokens only. Who has not proved to be that client is not even told that this one is another's. */
function mayRevoke(
  _ctx: KoaContextWithOIDC,
  client: Client,
  token: { readonly clientId?: string | undefined },
): boolean {
  if (token.clientId === client.clientId) return true;
  if (client.tokenEndpointAuthMethod === 'none') return false;
  throw new errors.InvalidRequest('client is not authorized to revoke the presented token');
}

/**
 * `__Host-` keeps the session cookie to this very host. The two of an interaction live under its own path, so that two
 * tabs can sign in side by side, and `__Host-` would demand the path `/`.
 */
function cookies({ issuer, cookieKeys }: ProviderSettings): Configuration['cookies'] {
  const secure = issuer.startsWith('https:');
  const common = { httpOnly: true, sameSite: 'lax', secure, signed: true, overwrite: true } as const;
  return {
    keys: [...cookieKeys],
    names: {
      session: secure ? '__Host-gatehouse_session' : 'gatehouse_session',
      interaction: secure ? '__Secure-gatehouse_interaction' : 'gatehouse_interaction',
      resume: secure ? '__Secure-gatehouse_resume' : 'gatehouse_resume',
    },
    long: { ...common, path: '/' },
    short: common,
  };
}

/** Every URL that the library makes starts with the issuer, whatever Host or X-Forwarded-* a request carries. */
function pinToIssuer(provider: Provider): void {
  const { protocol, host } = new URL(provider.issuer);
  Object.defineProperties(provider.request, {
    protocol: { get: () => protocol.slice(0, -1) },
    host: { get: () => host },
  });
  const contexts = provider.OIDCContext.prototype as { urlFor: (name: string, options?: object) => string };
  contexts.urlFor = (name, options) =>
    (provider as unknown as { urlFor: (name: string, options?: object) => string }).urlFor(name, options);
}
