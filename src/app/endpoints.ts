/** What answers beside the protocol: the pages that people log in on, registration, the admin API. */
import { PasswordCheck } from '../accounts/password_check.ts';
import { createAdmin } from '../admin/admin.ts';
import { readBootstrap } from '../bootstrap/development.ts';
import { bootstrapFile } from '../config.ts';
import { LoginAttempts } from '../limits/login_attempts.ts';
import { createLogin } from '../login/login.ts';
import { Approvals } from '../oidc/ciba/approvals.ts';
import { describeClient, describeScopes } from '../oidc/authorization/consent_descriptions.ts';
import { describeDetails } from '../oidc/authorization/details_description.ts';
import { DPOP_ALGS } from '../oidc/client_authentication/dpop.ts';
import { anonymousOrigin } from '../oidc/request/request_events.ts';
import { loginForOwnPages } from '../oidc/request/first_party_login.ts';
import { changeTogether } from '../oidc/request/page_changes.ts';
import { createSenderCheck } from '../oidc/client_authentication/sender_proofs.ts';
import { createRegistration } from '../registration/registration.ts';
import type { AppSettings, Node } from './node.ts';
import type { Oidc } from './oidc.ts';

export function createEndpoints(
  { config, database, log, clock }: AppSettings,
  house: Node,
  { provider, policy, verifier, registrations, fetchDocument, fetchDocumentFor, accessLifetimeOf }: Oidc,
) {
  const { issuer, mtlsUrl, adminUrl, sessionAbsoluteTtlSeconds, clientDemands } = config;
  const { trail, changes, clients, resources, tokens, vault, argon2id, subjects } = house;
  const login = createLogin({
    provider,
    database,
    trail,
    passwords: new PasswordCheck(database, argon2id),
    attempts: new LoginAttempts({ database, digest: house.digestAttempt, clock }),
    describeClient: describeClient(clients),
    describeScopes: describeScopes(resources, issuer),
    accessLifetimeOf,
    approvals: new Approvals({ provider, database, policy }),
    changeTogether: changeTogether({ database, trail }),
    logIn: loginForOwnPages({ issuer, provider }),
    describeDetails: describeDetails(house.detailsTypes),
    issuer,
    sessionAbsoluteTtlSeconds,
    showsAdminApi: config.adminPort === undefined,
    demo: config.production ? undefined : async () => (await readBootstrap(bootstrapFile(config)))?.demo,
    log,
  });
  const registration = createRegistration({
    issuer,
    database,
    vault,
    trail,
    changes,
    verifier,
    statements: house.statements,
    policies: house.policies,
    limits: registrations,
    failures: house.failures,
    fetchDocument,
    clientDemands,
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
    rotation: house.rotation,
    subjects,
    fetchDocument: fetchDocumentFor(true),
    auditKeys: house.auditKeys,
    checkpoints: house.checkpoints,
    inspectToken: (token, now) => tokens.inspect(token, now),
    checkSender: createSenderCheck({
      provider,
      database,
      certificates: house.clientCertificates,
      unanswered: house.unanswered,
      bases: [issuer, mtlsUrl, adminUrl].filter((base) => base !== undefined),
      async onReplay(ctx) {
        await trail.refusals.record(anonymousOrigin(ctx), { event: 'dpop_proof.replayed', outcome: 'refused' });
      },
    }),
    log,
    sessionAbsoluteTtlSeconds,
    clientDemands,
    dpopAlgs: DPOP_ALGS,
  });
  return { login, registration, admin };
}
