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
import { findAccount } from '../../accounts/account.ts';
import type { Clock } from '../../base/clock.ts';
import { ACR_VALUES } from '../../accounts/authentication_context.ts';
import type { Digest } from '../../base/secret.ts';
import { DPOP_ALGS, SIGNING_ALGS } from '../../base/signing_algs.ts';
import { GRANT_TYPES } from '../../clients/metadata/flows.ts';
import { CLIENT_ALGS } from '../../clients/metadata/field_types.ts';
import type { ClientDemands } from '../../clients/server_demands.ts';
import type { Subjects } from '../../clients/subject.ts';
import type { Database } from '../../db/connection.ts';
import type { Egress } from '../../egress/egress.ts';
import { fetchThrough } from '../../egress/fetch.ts';
import type { CookieSignatures } from '../../http/cookie_signatures.ts';
import type { LoginHints } from '../../limits/login_hints.ts';
import type { UserCodeGuesses } from '../../limits/user_code_guesses.ts';
import type { StatementVerifier } from '../../trust/statement_verifier.ts';
import type { AccessTokenStates } from '../tokens/access_token_state.ts';
import type { Vault } from '../../vault/vault.ts';
import { createAdapter } from '../storage/adapter.ts';
import { postponeLogouts } from '../logout/backchannel_logout.ts';
import { loginPolicy } from '../authorization/login_policy.ts';
import { demandBoundedClaims } from '../authorization/claims.ts';
import { accountClaims, CLAIMS_BY_SCOPE } from '../issuance/id_token.ts';
import {
  backchannelAuthentication,
  backchannelRequestSeconds,
  guardBackchannelAuthentication,
} from '../ciba/backchannel_authentication.ts';
import { BackchannelRequestStore } from '../ciba/backchannel_request_store.ts';
import type { AuthorizationDetailsPolicy } from '../authorization/authorization_details.ts';
import { demandOurAudience } from '../client_authentication/client_assertions.ts';
import { cookies } from '../request/cookies.ts';
import { DeviceCodeStore } from '../device/device_code_store.ts';
import { deviceFlow, guardDeviceFlow } from '../device/device_flow.ts';
import {
  demandProofOfBound,
  examineProof,
  isAboutProof,
  isProvedFor,
  useProof,
} from '../client_authentication/dpop.ts';
import { confirmErrorRedirects } from '../authorization/error_redirects.ts';
import { demandDecimalNumbers } from '../request/decimal_numbers.ts';
import { normalizeParameters } from '../request/normal_parameters.ts';
import { showFormPost } from './form_post.ts';
import type { ProviderPages } from './provider_pages.ts';
import { loadExistingGrant } from '../authorization/existing_grant.ts';
import {
  authMethods,
  endpointAliases,
  mutualTls,
  type MutualTlsSettings,
} from '../client_authentication/mutual_tls.ts';
import { noteErrorPages, noteReplay, collectEvents } from '../request/request_events.ts';
import { resolveHintedSubject } from '../authorization/hinted_subject.ts';
import { acceptRetiredKeyHints } from '../logout/retired_key_hints.ts';
import { INTERACTION_SECONDS } from '../request/first_party_login.ts';
import { takePostedRequests } from './posted_requests.ts';
import { narrowScopes } from '../tokens/narrowed_scopes.ts';
import { demandPushedRequest } from '../authorization/pushed_requests.ts';
import { signExternally } from './external_signing.ts';
import { internalsOf, type UrlFor } from './library_types.ts';
import { tokenHooks, tokenLifetimes } from './token_hooks.ts';
import { takeAccount } from '../storage/request_prefetch.ts';
import { markRefreshTokens, type RefreshTokenFamilies } from '../storage/refresh_token_families.ts';
import {
  recordOf,
  useProviderClients,
  type ProviderClientsSettings,
} from '../client_authentication/provider_clients.ts';
import { useOnce } from '../request/single_use.ts';
import { demandRequestObject } from '../authorization/request_objects.ts';
import { offerJwtBearer } from '../grants/jwt_bearer.ts';
import { offerTokenExchange } from '../grants/token_exchange.ts';
import { limitResponseModes } from '../authorization/response_modes.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import { ROUTES } from '../request/routes.ts';
import { sessionSeconds } from '../storage/session_store.ts';
import { maySee } from '../tokens/jwt_introspection.ts';
import type { UnansweredUses } from '../request/unanswered_uses.ts';

export interface ProviderSettings extends MutualTlsSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly clock: Clock;
  readonly vault: Vault;
  readonly egress: Egress;
  readonly clients: ProviderClientsSettings;
  readonly policy: ResourcePolicy;
  readonly tokens: AccessTokenStates;
  readonly statements: StatementVerifier;
  readonly detailsPolicy: AuthorizationDetailsPolicy;
  readonly userCodeGuesses: UserCodeGuesses;
  readonly loginHints: LoginHints;
  /** Digests a user code under a key; the same on every node. */
  readonly digestUserCode: (userCode: string) => Digest;
  readonly pages: ProviderPages;
  /** Signs cookies; the same on every node. */
  readonly cookieSignatures: CookieSignatures;
  /** What DPoP nonces are made from, 32 bytes; the same on every node. */
  readonly dpopNonceSecret: Buffer;
  /** What each client calls a person. */
  readonly subjects: Subjects;
  readonly refreshFamilies: RefreshTokenFamilies;
  readonly refreshGraceSeconds: number;
  readonly unanswered: UnansweredUses;
  readonly refreshTtlSeconds: number;
  readonly refreshAbsoluteTtlSeconds: number;
  readonly sessionTtlSeconds: number;
  readonly sessionAbsoluteTtlSeconds: number;
  readonly clientDemands: ClientDemands;
}

const CODE_SECONDS = 60;
const DEVICE_CODE_SECONDS = 600;
export const ID_TOKEN_SECONDS = 3_600;

export function createProvider(given: ProviderSettings, jwks: readonly JWK[]): Provider {
  const settings = { ...given, pages: noteErrorPages(given.pages) };
  const provider = new Provider(settings.issuer, configuration(settings, jwks));
  pinToIssuer(provider, endpointAliases(settings, ROUTES));
  normalizeParameters(provider, settings.policy.registered);
  narrowScopes(provider);
  useProviderClients(provider, settings.clients, {
    signingAlgs: new Set(jwks.map(({ alg }) => alg)),
    detailsTypes: settings.detailsPolicy.types(),
    certificates: settings.clientCertificates,
    demands: settings.clientDemands,
  });
  limitResponseModes(provider, settings.clientDemands.responseModes);
  demandProofOfBound(provider);
  demandPushedRequest(provider);
  postponeLogouts(provider, settings);
  takePostedRequests(provider, ROUTES.end_session, settings.pages);
  acceptRetiredKeyHints(provider, ROUTES.end_session, jwks);
  internalsOf(provider).ReplayDetection.unique = useOnceOnAllNodes(settings.database);
  offerTokenExchange(provider, settings);
  offerJwtBearer(provider, settings);
  showFormPost(provider, settings.pages);
  // inside of the one above: it reads what the library wrote
  confirmErrorRedirects(provider, settings);
  takePostedRequests(provider, ROUTES.authorization, settings.pages);
  guardDeviceFlow(provider, ROUTES.code_verification, settings.userCodeGuesses);
  guardBackchannelAuthentication(provider);
  markRefreshTokens(provider, settings.refreshFamilies, settings.clock);
  collectEvents(provider);
  return provider;
}

/** In the place of the library's own, which reads and then writes. */
function useOnceOnAllNodes(database: Database) {
  return async (issuer: string, jti: string, until: number): Promise<boolean> => {
    const ctx = Provider.ctx!;
    if (isAboutProof(ctx)) {
      await useProof(database, ctx, () => noteReplay(ctx, 'dpop_proof.replayed'));
      return true;
    }
    const first = await useOnce(ctx, database, 'client_assertion', { issuer, jti, until });
    if (!first) noteReplay(ctx, 'assertion.replayed');
    return first;
  };
}

function configuration(settings: ProviderSettings, jwks: readonly JWK[]): Configuration {
  const { policy, database, clock } = settings;
  const artifacts = createAdapter({
    database,
    clock,
    refreshGraceSeconds: settings.refreshGraceSeconds,
    families: settings.refreshFamilies,
    unanswered: settings.unanswered,
    sessionAbsoluteTtlSeconds: settings.sessionAbsoluteTtlSeconds,
  });
  return {
    adapter: (kind) => {
      if (kind === 'DeviceCode') return new DeviceCodeStore(settings);
      if (kind === 'BackchannelAuthenticationRequest') return new BackchannelRequestStore(settings);
      return artifacts(kind);
    },
    jwks: { keys: signExternally(jwks) },
    // the library fetches through the guarded egress alone
    fetch: fetchThrough(settings.egress),
    routes: ROUTES,
    cookies: cookies(settings.issuer, settings.cookieSignatures),
    // OAuth 2.1: the code flow alone, and PKCE for every client that no admin has let off
    responseTypes: ['code'],
    pkce: { required: (_ctx, client) => recordOf(client).metadata.pkce_exemption === undefined },
    subjectTypes: ['public', 'pairwise'],
    pairwiseIdentifier: (_ctx, accountId, client) => settings.subjects(accountId, recordOf(client)),
    // which URI is meant is said in every request (OpenID Connect Core, 3.1.2.1)
    allowOmittingSingleRegisteredRedirectUri: false,
    clientAuthMethods: authMethods(settings, settings.clientDemands),
    assertJwtClientAuthClaimsAndHeader: demandOurAudience(settings.issuer, clock),
    // of what this server signs with the library takes, and names in discovery, what there are keys for
    enabledJWA: {
      idTokenSigningAlgValues: [...SIGNING_ALGS],
      clientAuthSigningAlgValues: [...CLIENT_ALGS],
      userinfoSigningAlgValues: [...SIGNING_ALGS],
      introspectionSigningAlgValues: [...SIGNING_ALGS],
      authorizationSigningAlgValues: [...SIGNING_ALGS],
      dPoPSigningAlgValues: [...DPOP_ALGS],
      requestObjectSigningAlgValues: [...CLIENT_ALGS],
    },
    // what RFC 9701 (6) says, and the library leaves out
    clientDefaults: { introspection_signed_response_alg: 'RS256' },
    scopes: ['openid', 'offline_access'],
    claims: CLAIMS_BY_SCOPE,
    acrValues: [...ACR_VALUES],
    // a token for an API can't be used at userinfo, so who asked for the claims finds them in the ID token
    conformIdTokenClaims: false,
    clientBasedCORS: (_ctx, origin, client) =>
      client.tokenEndpointAuthMethod === 'none' &&
      // `null` is what every sandboxed page sends, and what a redirect URI of a scheme of its own has for an origin
      origin !== 'null' &&
      (client.redirectUris ?? []).some((uri) => URL.parse(uri)?.origin === origin),
    findAccount: async (ctx, name) => {
      const accountId = await resolveHintedSubject(database, settings.subjects, ctx, name);
      if (accountId === undefined) return undefined;
      const account = takeAccount(accountId) ?? (await findAccount(database, accountId));
      if (!account || account.disabledAt) return undefined;
      return { accountId: account.accountId, claims: () => accountClaims(account) } satisfies OidcAccount;
    },
    loadExistingGrant: loadExistingGrant(database, clock),
    ...tokenHooks(settings),
    renderError: settings.pages.renderError,
    interactions: {
      policy: loginPolicy(settings.subjects),
      url: (_ctx, { uid }) => `${new URL(settings.issuer).pathname.replace(/\/$/, '')}/interaction/${uid}`,
    },
    ttl: {
      ...tokenLifetimes(settings),
      AuthorizationCode: CODE_SECONDS,
      DeviceCode: DEVICE_CODE_SECONDS,
      BackchannelAuthenticationRequest: backchannelRequestSeconds,
      IdToken: ID_TOKEN_SECONDS,
      Interaction: INTERACTION_SECONDS,
      Grant: settings.refreshAbsoluteTtlSeconds,
      Session: (_ctx, session) => sessionSeconds(session, settings, clock()),
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: deviceFlow({ pages: settings.pages, policy }),
      ciba: backchannelAuthentication({ database, loginHints: settings.loginHints }),
      dPoP: { enabled: true, nonceSecret: settings.dpopNonceSecret, requireNonce: examineProof(clock) },
      mTLS: mutualTls(settings),
      externalSigningSupport: { enabled: true, ack: 'experimental-01' },
      pushedAuthorizationRequests: {
        enabled: true,
        requirePushedAuthorizationRequests: settings.clientDemands.pushedRequests,
      },
      jwtResponseModes: { enabled: true },
      requestObjects: { enabled: true, assertJwtClaimsAndHeader: demandRequestObject(clock) },
      claimsParameter: { enabled: true, assertClaimsParameter: demandBoundedClaims },
      userinfo: { enabled: true },
      jwtUserinfo: { enabled: true },
      jwtIntrospection: { enabled: true },
      revocation: { enabled: true, allowedPolicy: mayRevoke },
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) =>
          maySee(recordOf(client), { clientId: token.clientId, audience: 'aud' in token ? token.aud : undefined }),
      },
      backchannelLogout: { enabled: true },
      richAuthorizationRequests: settings.detailsPolicy.feature(),
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: settings.pages.logoutSource,
        postLogoutSuccessSource: settings.pages.postLogoutSuccessSource,
      },
      resourceIndicators: {
        enabled: true,
        // one of the two is called for every request, however it came, before the library reads its numbers
        defaultResource: (ctx, client, ...more) => {
          demandDecimalNumbers(ctx);
          return policy.defaultResource(ctx, client, ...more);
        },
        getResourceServerInfo: (ctx, identifier, client) => {
          demandDecimalNumbers(ctx);
          return policy.resourceServer(ctx, identifier, client);
        },
        // a code or refresh token that was granted for an API yields a token for that API
        useGrantedResource: () => true,
      },
    },
    discovery: {
      grant_types_supported: [...GRANT_TYPES],
      mtls_endpoint_aliases: endpointAliases(settings, ROUTES),
    },
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

/** Every URL that the library makes starts with the issuer: a request's Host and X-Forwarded-* headers do not count. */
function pinToIssuer(provider: Provider, aliases: Readonly<Record<string, string>> = {}): void {
  const { protocol, host } = new URL(provider.issuer);
  Object.defineProperties(provider.request, {
    protocol: { get: () => protocol.slice(0, -1) },
    host: { get: () => host },
  });
  const library = internalsOf(provider);
  const contexts: { urlFor: UrlFor } = library.OIDCContext.prototype;
  contexts.urlFor = function (this: { readonly ctx: KoaContextWithOIDC }, name, options) {
    const alias = aliases[`${name}_endpoint`];
    // asked for where a proof is compared with it: an endpoint has two addresses then, and is the same one
    if (alias !== undefined && isProvedFor(this.ctx, alias)) return alias;
    return library.urlFor(name, options);
  };
}
