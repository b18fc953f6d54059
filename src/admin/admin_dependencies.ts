/** What the admin API needs from the rest of the node. */
import type { LinkSender } from '../account_links/link_sender.ts';
import type { Notices } from '../account_links/notices.ts';
import type { AuditKeys } from '../audit/audit_keys.ts';
import type { Checkpoints } from '../audit/checkpoints.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { Argon2id } from '../password_hashing/argon2id.ts';
import type { PasswordRules } from '../passwords/password_rules.ts';
import type { ClientDemands } from '../clients/server_requirements.ts';
import type { FetchDocument } from '../clients/sector.ts';
import type { Subjects } from '../clients/subject.ts';
import type { InvalidationFollower } from '../invalidation/follower.ts';
import type { Database } from '../db/connection.ts';
import type { KeyRotation } from '../keys/rotation.ts';
import type { LoginAttempts } from '../limits/login_attempts.ts';
import type { Logger } from '../log.ts';
import type { Vault } from '../vault/vault.ts';
import type { Authentication } from './authentication.ts';

export interface AdminDependencies extends Authentication {
  readonly database: Database;
  readonly vault: Vault;
  readonly trail: AuditTrail;
  readonly auditKeys: AuditKeys;
  readonly checkpoints: Checkpoints;
  readonly changes: InvalidationFollower;
  readonly argon2id: Argon2id;
  readonly loginAttempts: Pick<LoginAttempts, 'unlock'>;
  readonly passwordRules: PasswordRules;
  /** Whether people alone choose their passwords, so that no admin knows one (ASVS 5.0, 6.4.6). */
  readonly passwordsByLinkOnly: boolean;
  readonly links: LinkSender;
  readonly notices: Notices;
  readonly rotation: KeyRotation;
  readonly subjects: Subjects;
  readonly fetchDocument: FetchDocument;
  readonly log: Logger;
  /** Maximum age of a session, in seconds after the login. */
  readonly sessionAbsoluteTtlSeconds: number;
  readonly clientDemands: ClientDemands;
}
