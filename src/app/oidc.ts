/** The provider, with what it is made of, and what shares that with it. */
import type { Provider } from 'oidc-provider';
import { addSeconds } from '../base/clock.ts';
import { SecretVerifier } from '../clients/secret_verifier.ts';
import { Unavailable } from '../base/unavailable.ts';
import { NotFetched, type FetchDocument } from '../clients/sector.ts';
import { EgressFailed, isBusy } from '../egress/failure.ts';
import { LoginHints } from '../limits/login_hints.ts';
import { networkOf } from '../limits/rate_limit_key.ts';
import { Registrations } from '../limits/registrations.ts';
import { SecretGuesses } from '../limits/secret_guesses.ts';
import { UserCodeGuesses } from '../limits/user_code_guesses.ts';
import { Verifications } from '../limits/verifications.ts';
import { createProviderPages } from '../login/provider_pages.ts';
import { accessLifetimes } from '../oidc/authorization/access_lifetimes.ts';
import { AuthorizationDetailsPolicy } from '../oidc/authorization/authorization_details.ts';
import { backchannelLogouts } from '../oidc/logout/backchannel_logout.ts';
import { describeClient, describeScopes } from '../oidc/authorization/consent_descriptions.ts';
import { Endpoints } from '../oidc/provider/endpoints.ts';
import { createProvider } from '../oidc/provider/configuration.ts';
import { ResourcePolicy } from '../oidc/tokens/resource_policy.ts';
import { Revocations } from '../oidc/tokens/revocation.ts';
import { JwtIntrospection } from '../oidc/tokens/jwt_introspection.ts';
import { MetadataDocuments } from '../registration/metadata_documents.ts';
import type { AppSettings, Node } from './node.ts';

/** How old a document that a client points to may be: whoever has just mended it must not wait for long. */
const SECTOR_SECONDS = 10;

export type Oidc = ReturnType<typeof createOidc>;

/** The provider is made anew, and takes over between two requests, when it has other keys or other types to know. */
export function createOidc({ config, pool, database, log, clock }: AppSettings, house: Node) {
  const { issuer } = config;
  const { trail, changes, clients, resources, tokens, vault, egress, traffic, failures, policies, ring } = house;
  const accessLifetimeOf = accessLifetimes({ ...config, clients, resources });
  const pages = createProviderPages({
    issuer,
    describeScopes: describeScopes(resources, issuer),
    describeClient: describeClient(clients),
    accessLifetimeOf,
  });
  const revocations = new Revocations({ database, trail, changes });
  const endpoints = new Endpoints({
    database,
    trail,
    unanswered: house.unanswered,
    structured: new JwtIntrospection({ tokens, revocations }),
    renderError: pages.renderError,
    jwksMaxAgeSeconds: config.jwksMaxAgeSeconds,
    traffic,
    failures,
    log,
  });
  const guesses = new SecretGuesses(pool);
  const verifier = new SecretVerifier(vault, house.argon2id, (clientId, address) => guesses.admit(clientId, address));
  const detailsPolicy = new AuthorizationDetailsPolicy(house.detailsTypes);
  const policy = new ResourcePolicy(resources, detailsPolicy);
  const limits = new Registrations(pool);
  const fetchDocumentFor =
    (vetted: boolean): FetchDocument =>
    async (url, askedFrom) => {
      const asker = askedFrom === undefined ? undefined : networkOf(askedFrom);
      try {
        return (await egress.get(url, { vetted, asker, fetchedSince: addSeconds(clock(), -SECTOR_SECONDS) })).body;
      } catch (error) {
        if (isBusy(error)) throw new Unavailable('Too many documents are being fetched.', { cause: error });
        throw error instanceof EgressFailed ? new NotFetched(error.message, { cause: error }) : error;
      }
    };
  const fetchDocument = fetchDocumentFor(false);
  const directory = clients;
  const attempts = { database, digest: house.digestAttempt, clock };
  const settings = {
    ...config,
    database,
    clock,
    vault,
    egress,
    clients: {
      directory,
      documents: new MetadataDocuments({
        database,
        directory,
        egress,
        fetchDocument,
        policies,
        limits,
        trail,
        changes,
        clock,
      }),
      verifier,
      uses: house.uses,
      traffic,
      clock,
      keys: { egress, clock, log, verifications: new Verifications() },
    },
    clientCertificates: house.clientCertificates,
    unanswered: house.unanswered,
    tokens,
    statements: house.statements,
    policy,
    detailsPolicy,
    userCodeGuesses: new UserCodeGuesses(attempts),
    loginHints: new LoginHints(attempts),
    digestUserCode: house.digestUserCode,
    pages,
    cookieSignatures: house.cookieSignatures,
    dpopNonceSecret: house.dpopNonceSecret,
    refreshFamilies: house.refreshFamilies,
    subjects: house.subjects,
  };
  const swap = (): void => endpoints.use(createProvider(settings, ring.privateJwks));
  swap();
  ring.onSwap(swap);
  house.detailsTypes.onSwap(swap);
  const provider = (): Provider => endpoints.provider;
  house.outbox.serve(backchannelLogouts(provider));
  return {
    provider,
    endpoints,
    pages,
    revocations,
    verifier,
    policy,
    registrations: limits,
    fetchDocument,
    accessLifetimeOf,
    fetchDocumentFor,
  };
}
