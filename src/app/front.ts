/** Who answers which request: what every one of them passes first, and the order in which they are asked. */
import type { RequestListener } from 'node:http';
import Koa from 'koa';
import { PasswordCheck } from '../accounts/password_check.ts';
import { createAdmin } from '../admin/admin.ts';
import { SecretVerifier } from '../clients/secret_verifier.ts';
import { clientAddress } from '../http/client_address.ts';
import type { Metrics } from '../http/metrics.ts';
import { pinToIssuer } from '../http/mount.ts';
import { pageHeaders } from '../http/page_headers.ts';
import { requestContext } from '../http/request_context.ts';
import { unanswered } from '../http/unanswered.ts';
import { LoginAttempts } from '../limits/login_attempts.ts';
import { SecretGuesses } from '../limits/secret_guesses.ts';
import { UserCodeGuesses } from '../limits/user_code_guesses.ts';
import { createLogin } from '../login/login.ts';
import { createProviderPages } from '../login/provider_pages.ts';
import { describeClient, describeScopes } from '../oidc/descriptions.ts';
import { Endpoints } from '../oidc/endpoints.ts';
import { createProvider, METHODS } from '../oidc/provider.ts';
import { ResourcePolicy } from '../oidc/resource_policy.ts';
import { StructuredTokens } from '../oidc/structured_tokens.ts';
import type { AppSettings, House } from './house.ts';

export interface Front {
  /** Answers the public: the protocol, the pages, the admin API. */
  readonly public: RequestListener;
  /** Answers admins, where that was given a port of its own; then `public` doesn't. */
  readonly admin: RequestListener | undefined;
}

/** The public's listener, and the admin API's where it has a port of its own. */
export function openFront(settings: AppSettings, house: House, metrics: Metrics): Front {
  const { config, pool, database, log, clock } = settings;
  const { issuer } = config;
  const { trail, changes, clients, resources, tokens, vault, argon2id, rotation, egress } = house;
  const cookieKeys = [house.cookieKey];
  const pages = createProviderPages({ issuer, describeScopes: describeScopes(resources, issuer) });
  const endpoints = new Endpoints({
    trail,
    structured: new StructuredTokens({ tokens, database, trail, changes }),
    renderError: pages.renderError,
    jwksMaxAgeSeconds: config.jwksMaxAgeSeconds,
    log,
  });
  const guesses = new SecretGuesses();
  const verifier = new SecretVerifier(vault, argon2id, (clientId) => guesses.mayCompare(clientId));
  const userCodeGuesses = new UserCodeGuesses(pool);
  const swap = (): void =>
    endpoints.use(
      createProvider(
        {
          ...config,
          database,
          clock,
          egress,
          clients: { directory: clients, verifier, uses: house.uses, clock, keys: { egress, clock, log } },
          trail,
          policy: new ResourcePolicy(resources),
          userCodeGuesses,
          digestUserCode: house.digestUserCode,
          pages,
          cookieKeys,
          dpopNonceSecret: house.dpopNonceSecret,
        },
        house.ring.privateJwks,
      ),
    );
  swap();
  house.ring.onSwap(swap);

  const login = createLogin({
    provider: () => endpoints.provider,
    database,
    trail,
    passwords: new PasswordCheck(database, argon2id),
    attempts: new LoginAttempts(pool),
    describeClient: describeClient(clients),
    describeScopes: describeScopes(resources, issuer),
    issuer,
    log,
  });
  const admin = createAdmin({
    issuer,
    database,
    vault,
    trail,
    changes,
    clients,
    argon2id,
    rotation,
    auditKeys: house.auditKeys,
    checkpoints: house.checkpoints,
    inspectToken: (token, now) => tokens.inspect(token, now),
    log,
  });
  const apart = config.adminPort !== undefined;
  const last = unanswered({ methods: METHODS, page: pages.unanswered });
  return {
    public: listener(settings, house, metrics, [
      login,
      ...(apart ? [] : [admin]),
      pageHeaders,
      endpoints.middleware,
      last,
    ]),
    admin: apart ? listener(settings, house, metrics, [admin, last]) : undefined,
  };
}

/** What every request passes first, then who answers which path. */
function listener(
  { config, clock, log }: AppSettings,
  { cookieKey }: House,
  metrics: Metrics,
  answers: readonly Koa.Middleware[],
): RequestListener {
  const app = new Koa();
  app.keys = [cookieKey];
  app.on('error', (error: unknown) => log.error({ error }, 'request.failed'));
  app.use(requestContext(clock, clientAddress(config.trustedProxies)));
  app.use(pinToIssuer(app, config.issuer));
  app.use(
    metrics.measure(['/admin/v1', '/interaction', '/account', '/assets', '/.well-known', ...Object.keys(METHODS)]),
  );
  for (const answer of answers) app.use(answer);
  const answer = app.callback();
  return (request, response) => void answer(request, response);
}
