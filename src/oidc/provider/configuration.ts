/**
 * Configures oidc-provider as an OAuth 2.1 server. It restricts each default that is too permissive, with the reason.
 */
import { errors, Provider, type Client, type Configuration, type KoaContextWithOIDC } from 'oidc-provider';
import type { JWK } from 'jose';
import type { Clock } from '../../base/clock.ts';
import type { Digest } from '../../base/secret.ts';
import { DPOP_ALGS, RESPONSE_ALGS } from '../../base/signing_algs.ts';
import { GRANT_TYPES } from '../../clients/metadata/flows.ts';
import { CLIENT_ALGS } from '../../clients/metadata/field_types.ts';
import type { ClientDemands } from '../../clients/server_requirements.ts';
import type { Subjects } from '../../clients/subject.ts';
import type { Database } from '../../db/connection.ts';
import type { Egress } from '../../egress/egress.ts';
import { fetchThrough } from '../../egress/fetch.ts';
import type { CookieSignatures } from '../../http/cookie_signatures.ts';
import type { LoginHints } from '../../limits/login_hints.ts';
import type { UserCodeGuesses } from '../../limits/user_code_guesses.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import type { StatementVerifier } from '../../trust/statement_verifier.ts';
import type { AccessTokenStates } from '../tokens/access_token_state.ts';
import type { Vault } from '../../vault/vault.ts';
import { createAdapter } from '../storage/adapter.ts';
import { postponeLogouts } from '../logout/backchannel_logout.ts';
import type { DemandedContexts } from '../authorization/demanded_context.ts';
import { loginPolicy, PROMPTS } from '../authorization/login_policy.ts';
import { demandBoundedClaims } from '../authorization/claims.ts';
import { CLAIMS_BY_SCOPE } from '../issuance/id_token.ts';
import { splitScope, stillRegistered } from '../issuance/scope_values.ts';
import {
  backchannelAuthentication,
  backchannelRequestSeconds,
  guardBackchannelAuthentication,
} from '../ciba/backchannel_authentication.ts';
import { BackchannelRequestStore } from '../ciba/backchannel_request_store.ts';
import type { AuthorizationDetailsPolicy } from '../authorization/authorization_details.ts';
import { demandAssertion, leaveAudienceToUs } from '../client_authentication/client_assertions.ts';
import { cookies } from '../request/cookies.ts';
import { DeviceCodeStore } from '../device/device_code_store.ts';
import { deviceFlow, guardDeviceFlow } from '../device/device_flow.ts';
import {
  demandProofOfBound,
  demandThumbprint,
  examineProof,
  isAboutProof,
  isProvedFor,
  useProof,
} from '../sender_constraint/dpop.ts';
import { confirmErrorRedirects } from '../authorization/error_redirects.ts';
import { demandDecimalNumbers } from '../request/decimal_numbers.ts';
import { normalizeParameters } from '../request/normal_parameters.ts';
import { showFormPost } from './form_post.ts';
import type { LibraryPages } from './page_interfaces.ts';
import { loadExistingGrant } from '../authorization/existing_grant.ts';
import {
  authMethods,
  endpointAliases,
  mutualTls,
  type MutualTlsSettings,
} from '../client_authentication/mutual_tls.ts';
import { noteErrorPages, noteReplay, collectEvents } from '../request/request_events.ts';
import { ignoreRefusedDestinations, rpInitiatedLogout } from '../logout/refused_destinations.ts';
import { acceptRetiredKeyHints } from '../logout/retired_key_hints.ts';
import { INTERACTION_SECONDS } from '../request/first_party_login.ts';
import { takePostedRequests } from './posted_requests.ts';
import { narrowScopes } from '../tokens/narrowed_scopes.ts';
import { demandPushedRequest } from '../authorization/pushed_requests.ts';
import { signExternally } from './external_signing.ts';
import { answerBesides, internalsOf, nameContexts, type UrlFor } from './library_types.ts';
import { findAccountFor } from './people.ts';
import { giveAddedClaims } from './added_claims.ts';
import { tokenHooks, tokenLifetimes } from './token_hooks.ts';
import { markRefreshTokens, type RefreshTokenFamilies } from '../storage/refresh_token_families.ts';
import {
  recordOf,
  useProviderClients,
  type ProviderClientsSettings,
} from '../client_authentication/provider_clients.ts';
import { useOnce } from '../request/single_use.ts';
import { checkRequestObjectMembers } from '../authorization/request_object_members.ts';
import { demandRequestObject } from '../authorization/request_objects.ts';
import { offerJwtBearer } from '../grants/jwt_bearer.ts';
import { offerTokenExchange } from '../grants/token_exchange.ts';
import { limitErrorDescriptions, limitResponseModes } from '../authorization/response_modes.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import { ROUTES } from '../request/routes.ts';
import { sessionSeconds } from '../storage/session_times.ts';
import { maySee } from '../tokens/jwt_introspection.ts';
import { acceptJwtsAtUserinfo, type Usernames } from '../tokens/userinfo_tokens.ts';
import type { UnansweredUses } from '../request/unanswered_uses.ts';

export interface ProviderSettings extends MutualTlsSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly clock: Clock;
  readonly vault: Vault;
  readonly egress: Egress;
  readonly clients: ProviderClientsSettings;
  readonly policy: ResourcePolicy;
  readonly roles: RoleDirectory;
  readonly tokens: AccessTokenStates;
  readonly usernames: Usernames;
  readonly statements: StatementVerifier;
  readonly detailsPolicy: AuthorizationDetailsPolicy;
  readonly userCodeGuesses: UserCodeGuesses;
  readonly loginHints: LoginHints;
  /** Digests a user code with a key that is the same on every node. */
  readonly digestUserCode: (userCode: string) => Digest;
  readonly pages: LibraryPages;
  /** Signs cookies with a key that is the same on every node. */
  readonly cookieSignatures: CookieSignatures;
  /** The secret for DPoP nonces: 32 bytes, the same on every node. */
  readonly dpopNonceSecret: Buffer;
  /** Returns the subject identifier of a person for a client. */
  readonly subjects: Subjects;
  readonly demandedContexts: DemandedContexts;
  /** The authentication contexts that a login at this server can have. */
  readonly acrValues: readonly string[];
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
  checkRequestObjectMembers();
  const provider = new Provider(settings.issuer, configuration(settings, jwks));
  pinToIssuer(provider, endpointAliases(settings, ROUTES));
  normalizeParameters(provider, settings.policy.registered);
  narrowScopes(provider);
  giveAddedClaims(provider);
  useProviderClients(provider, settings.clients, {
    signingAlgs: new Set(jwks.map(({ alg }) => alg)),
    detailsTypes: settings.detailsPolicy.types(),
    certificates: settings.clientCertificates,
    demands: settings.clientDemands,
  });
  leaveAudienceToUs(provider);
  limitResponseModes(provider, settings.clientDemands.responseModes);
  limitErrorDescriptions(provider);
  demandProofOfBound(provider);
  demandPushedRequest(provider);
  postponeLogouts(provider, settings);
  takePostedRequests(provider, ROUTES.end_session, settings.pages);
  acceptRetiredKeyHints(provider, ROUTES.end_session, jwks);
  ignoreRefusedDestinations(provider, settings.pages);
  internalsOf(provider).ReplayDetection.unique = useOnceOnAllNodes(settings.database);
  offerTokenExchange(provider, settings);
  offerJwtBearer(provider, settings);
  showFormPost(provider, settings.pages);
  // this runs inside of showFormPost, because it reads the library's own response
  confirmErrorRedirects(provider, settings);
  takePostedRequests(provider, ROUTES.authorization, settings.pages);
  guardDeviceFlow(provider, ROUTES.code_verification, settings.userCodeGuesses);
  guardBackchannelAuthentication(provider);
  markRefreshTokens(provider, settings.refreshFamilies, settings.clock);
  acceptJwtsAtUserinfo(provider, settings);
  collectEvents(provider);
  nameContexts(provider);
  return provider;
}

/** Replaces the library's check, which reads and then writes, so that two nodes could both accept the same `jti`. */
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
    roles: settings.roles,
  });
  return {
    adapter: (kind) => {
      if (kind === 'DeviceCode') return new DeviceCodeStore(settings);
      if (kind === 'BackchannelAuthenticationRequest') return new BackchannelRequestStore(settings);
      return artifacts(kind);
    },
    jwks: { keys: signExternally(jwks) },
    // all requests of the library go through the checks of egress
    fetch: fetchThrough(settings.egress),
    routes: ROUTES,
    cookies: cookies(settings.issuer, settings.cookieSignatures),
    // OAuth 2.1: only the code flow, and PKCE for each client unless an admin made an exemption
    responseTypes: ['code'],
    pkce: { required: (_ctx, client) => recordOf(client).metadata.pkce_exemption === undefined },
    subjectTypes: ['public', 'pairwise'],
    pairwiseIdentifier: (_ctx, accountId, client) => settings.subjects(accountId, recordOf(client)),
    // each request must name its redirect URI (OpenID Connect Core, 3.1.2.1)
    allowOmittingSingleRegisteredRedirectUri: false,
    clientAuthMethods: authMethods(settings, settings.clientDemands),
    assertJwtClientAuthClaimsAndHeader: demandAssertion({
      issuer: settings.issuer,
      clock,
      aliases: endpointAliases(settings, ROUTES),
    }),
    // of the algorithms for signing, the library accepts and publishes in discovery only those that have keys
    enabledJWA: {
      idTokenSigningAlgValues: [...RESPONSE_ALGS],
      clientAuthSigningAlgValues: [...CLIENT_ALGS],
      userinfoSigningAlgValues: [...RESPONSE_ALGS],
      introspectionSigningAlgValues: [...RESPONSE_ALGS],
      authorizationSigningAlgValues: [...RESPONSE_ALGS],
      dPoPSigningAlgValues: [...DPOP_ALGS],
      requestObjectSigningAlgValues: [...CLIENT_ALGS],
    },
    // the default of RFC 9701, 6; the library has none
    clientDefaults: { introspection_signed_response_alg: 'RS256' },
    scopes: ['openid', 'offline_access'],
    claims: CLAIMS_BY_SCOPE,
    acrValues: [...settings.acrValues],
    // many relying parties read only the ID token; `claims` below reduces it for a client that chose so
    conformIdTokenClaims: false,
    clientBasedCORS: (_ctx, origin, client) => mayReadAnswers(origin, client),
    findAccount: findAccountFor(settings),
    loadExistingGrant: loadExistingGrant(database, clock),
    ...tokenHooks(settings),
    renderError: settings.pages.renderError,
    interactions: {
      policy: loginPolicy(settings),
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
      deviceFlow: deviceFlow(settings),
      ciba: backchannelAuthentication(settings),
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
        allowedPolicy: async (_ctx, client, token) => {
          const audience = 'aud' in token ? token.aud : undefined;
          if (!maySee(recordOf(client), { clientId: token.clientId, audience })) return false;
          // what it gives today, as at userinfo and at a refresh
          if (token.clientId === client.clientId && token.scope !== undefined)
            token.scope = stillRegistered(recordOf(client).metadata, splitScope(token.scope)).join(' ');
          const username = 'grantId' in token ? await settings.usernames.ofStored(recordOf(client), token) : undefined;
          if (username !== undefined) answerBesides(token, { username });
          return true;
        },
      },
      backchannelLogout: { enabled: true },
      richAuthorizationRequests: settings.detailsPolicy.feature(),
      rpInitiatedLogout: rpInitiatedLogout(settings.pages),
      resourceIndicators: {
        enabled: true,
        // the library calls one of these two functions for each request before it reads the request's numbers
        defaultResource: (ctx, client, ...more) => {
          demandWellFormed(ctx);
          return policy.defaultResource(ctx, client, ...more);
        },
        getResourceServerInfo: (ctx, identifier, client) => {
          demandWellFormed(ctx);
          return policy.resourceServer(ctx, identifier, client);
        },
        // a code or refresh token that was granted for an API is exchanged for a token for that API
        useGrantedResource: () => true,
      },
    },
    discovery: {
      grant_types_supported: [...GRANT_TYPES],
      prompt_values_supported: PROMPTS,
      mtls_endpoint_aliases: endpointAliases(settings, ROUTES),
    },
  };
}

/** Whether a page of the origin may read answers to the client: origins of redirect URIs, and those that an admin set. */
function mayReadAnswers(origin: string, client: Client): boolean {
  // each sandboxed page sends `null`, and a redirect URI with a private-use scheme has this origin, too
  if (client.tokenEndpointAuthMethod !== 'none' || origin === 'null') return false;
  if (recordOf(client).metadata.allowed_cors_origins?.includes(origin)) return true;
  return (client.redirectUris ?? []).some((uri) => URL.parse(uri)?.origin === origin);
}

/** Refuses values of parameters that the library would accept, or refuse only at the token endpoint. */
function demandWellFormed(ctx: KoaContextWithOIDC): void {
  demandDecimalNumbers(ctx);
  demandThumbprint(ctx);
}

/**
 * A client may revoke only its own tokens. A public client, which has not proved its identity, does not learn that the
 * token belongs to another client.
 */
function mayRevoke(
  _ctx: KoaContextWithOIDC,
  client: Client,
  token: { readonly clientId?: string | undefined },
): boolean {
  if (token.clientId === client.clientId) return true;
  if (client.tokenEndpointAuthMethod === 'none') return false;
  throw new errors.InvalidRequest('client is not authorized to revoke the presented token');
}

/** Makes each URL of the library start with the issuer, regardless of the request's Host and X-Forwarded-* headers. */
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
    // the library compares this URL with a proof's `htu`; a proof for the endpoint's mTLS alias is valid, too
    if (alias !== undefined && isProvedFor(this.ctx, alias)) return alias;
    return library.urlFor(name, options);
  };
}
