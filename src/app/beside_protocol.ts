/** What answers beside the protocol: the pages that people log in on, registration, the admin API. */
import { PasswordCheck } from '../accounts/password_check.ts';
import { createAdmin } from '../admin/admin.ts';
import { readBootstrap } from '../bootstrap/development.ts';
import { bootstrapFile } from '../config.ts';
import { LoginAttempts } from '../limits/login_attempts.ts';
import { createLogin } from '../login/login.ts';
import { Approvals } from '../oidc/approvals.ts';
import { describeClient, describeScopes } from '../oidc/descriptions.ts';
import { describeDetails } from '../oidc/details_in_words.ts';
import { DPOP_ALGS } from '../oidc/dpop.ts';
import { loginForOwnPages } from '../oidc/own_login.ts';
import { createRegistration } from '../registration/registration.ts';
import type { AppSettings, House } from './house.ts';
import type { Protocol } from './protocol.ts';

export function openBesideProtocol(
  { config, pool, database, log }: AppSettings,
  house: House,
  { provider, policy, verifier, registrations, fetchDocument }: Protocol,
) {
  const { issuer } = config;
  const { trail, changes, clients, resources, tokens, vault, argon2id, subjects } = house;
  const login = createLogin({
    provider,
    database,
    trail,
    passwords: new PasswordCheck(database, argon2id),
    attempts: new LoginAttempts(pool),
    describeClient: describeClient(clients),
    describeScopes: describeScopes(resources, issuer),
    approvals: new Approvals({ provider, database, trail, policy }),
    logIn: loginForOwnPages({ issuer, provider }),
    describeDetails: describeDetails(house.detailsTypes),
    issuer,
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
    fetchDocument,
    auditKeys: house.auditKeys,
    checkpoints: house.checkpoints,
    inspectToken: (token, now) => tokens.inspect(token, now),
    log,
    dpopAlgs: DPOP_ALGS,
  });
  return { login, registration, admin };
}
