/** The tables of migrations/, as Kysely types. */
import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { RequirableAcr } from '../base/acr_values.ts';
import type { Digest } from '../base/secret.ts';
import type { ClaimSource } from '../base/claim_mappings.ts';
import type { SigningAlg } from '../base/signing_algs.ts';

export interface Tables {
  data_keys: DataKeys;
  cookie_signatures: CookieSignatures;
  changes: Changes;
  audit_events: AuditEvents;
  audit_links: AuditLinks;
  audit_checkpoints: AuditCheckpoints;
  audit_keys: AuditKeys;
  resources: Resources;
  ended_resources: EndedResources;
  authorization_details_types: AuthorizationDetailsTypes;
  authorization_details_type_resources: AuthorizationDetailsTypeResources;
  clients: Clients;
  client_resources: ClientResources;
  client_introspects: ClientIntrospects;
  client_authorization_details_types: ClientAuthorizationDetailsTypes;
  client_secrets: ClientSecrets;
  registration_policies: RegistrationPolicies;
  registration_policy_resources: RegistrationPolicyResources;
  initial_access_tokens: InitialAccessTokens;
  client_registrations: ClientRegistrations;
  accounts: Accounts;
  totp_secrets: TotpSecrets;
  recovery_codes: RecoveryCodes;
  passkeys: Passkeys;
  remembered_devices: RememberedDevices;
  login_unlocks: LoginUnlocks;
  factor_needs: FactorNeeds;
  account_links: AccountLinks;
  consents: Consents;
  grants: Grants;
  artifacts: Artifacts;
  device_codes: DeviceCodes;
  backchannel_requests: BackchannelRequests;
  used_once: UsedOnce;
  revoked_tokens: RevokedTokens;
  signing_keys: SigningKeys;
  unused_signing_algs: UnusedSigningAlgs;
  trusted_issuers: TrustedIssuers;
  grant_policies: GrantPolicies;
  grant_policy_scopes: GrantPolicyScopes;
  subject_links: SubjectLinks;
  failed_attempts: FailedAttempts;
  attempt_counters: AttemptCounters;
  known_logins: KnownLogins;
  idempotency_keys: IdempotencyKeys;
  outbox: Outbox;
  roles: Roles;
  role_resources: RoleResources;
  groups: Groups;
  group_roles: GroupRoles;
  group_members: GroupMembers;
}

/** A JSON object as stored; each reader parses it into its own type. */
export type StoredJson = JSONColumnType<Record<string, unknown>>;

/** One row: the time from which cookies are signed with SHA-256. */
interface CookieSignatures {
  sha256_from: Date;
}

interface DataKeys {
  data_key_id: string;
  purpose:
    | 'pepper'
    | 'cookies'
    | 'cursors'
    | 'replies'
    | 'dpop_nonces'
    | 'outbox'
    | 'pairwise_subjects'
    | 'totp'
    | 'signing_key';
  master_key_id: string;
  wrapped: Buffer;
  created_at: Date;
}

interface Changes {
  sequence: Generated<number>;
  topic: string;
  key: string;
  recorded_at: Date;
}

interface AuditEvents {
  stream: string;
  sequence: number;
  occurred_at: Date;
  event: string;
  outcome: 'success' | 'refused';
  actor_type: 'client' | 'account' | 'system' | 'anonymous';
  actor_id: string | null;
  account_id: string | null;
  client_id: string | null;
  address: string | null;
  request_id: string | null;
  details: StoredJson;
}

interface AuditLinks {
  stream: string;
  number: number;
  previous: Buffer | null;
  first_sequence: number;
  begins_at: Date;
  entries: Buffer;
  seal: Buffer;
  checkpoint: number | null;
}

interface AuditCheckpoints {
  number: number;
  made_at: Date;
  jws: string;
}

interface AuditKeys {
  kid: string;
  data_key_id: string;
  sealed: Buffer;
  created_at: Date;
}

interface Resources {
  identifier: string;
  normal_form: ColumnType<string, never, never>;
  display_name: string | null;
  scopes: JSONColumnType<{ name: string; description: string; details?: string; access?: 'read' | 'write' }[]>;
  access_token_ttl_seconds: number;
  signing_alg: SigningAlg;
  userinfo_audience: Generated<boolean>;
  claim_mappings: ColumnType<{ claim: string; from: ClaimSource }[], string | undefined, string>;
  /** The times (ISO 8601) of scopes that were removed and made again, by their names. */
  scopes_added_at: ColumnType<Record<string, string>, string | undefined, string>;
  /** The epoch, but for a resource whose name a deleted one had. */
  tokens_valid_from: Generated<Date>;
  required_acr: ColumnType<RequirableAcr | null, RequirableAcr | null | undefined>;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface EndedResources {
  identifier: string;
  normal_form: string;
  /** `null` if the whole resource was deleted. */
  scope: string | null;
  ended_at: Date;
  /** `null` while rights are left. */
  completed_at: Date | null;
}

interface AuthorizationDetailsTypes {
  type: string;
  title: string;
  description: string | null;
  schema: StoredJson;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface AuthorizationDetailsTypeResources {
  type: string;
  resource: string;
}

interface Clients {
  client_id: string;
  metadata: StoredJson;
  secret_rotation_days: number | null;
  token_generation: Generated<number>;
  revoked_at: Date | null;
  revoked_reason: string | null;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface ClientResources {
  client_id: string;
  resource: string;
  scopes: string[];
}

interface ClientIntrospects {
  client_id: string;
  resource: string;
}

interface ClientAuthorizationDetailsTypes {
  client_id: string;
  type: string;
}

interface ClientSecrets {
  secret_id: string;
  client_id: string;
  pepper_id: string | null;
  digest: ColumnType<Buffer | null, Digest | null, never>;
  argon2id: string | null;
  hint: string;
  created_at: Date;
  expires_at: Date | null;
  ended_at: Date | null;
  last_used_at: Date | null;
}

interface RegistrationPolicies {
  name: string;
  settings: StoredJson;
  open_registration: boolean;
  client_id_metadata_documents: boolean;
  clients_at_most: number;
  unused_client_ttl_seconds: number | null;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface RegistrationPolicyResources {
  policy: string;
  resource: string;
  scopes: string[];
}

interface InitialAccessTokens {
  token_id: string;
  digest: ColumnType<Buffer, Digest, never>;
  policy: string;
  note: string | null;
  uses: number;
  uses_left: number;
  created_at: Date;
  expires_at: Date;
  revoked_at: Date | null;
}

interface ClientRegistrations {
  client_id: string;
  source: 'registration' | 'metadata_document';
  policy: string;
  initial_access_token_id: string | null;
  registration_access_token: ColumnType<Buffer | null, Digest | null>;
  held_members: Generated<string[]>;
  software_statement: string | null;
  document_fetched_at: Date | null;
  document_fresh_until: Date | null;
  document_pinned_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  created_at: Date;
  unused_network: string | null;
  unused_site: string | null;
}

interface Accounts {
  account_id: string;
  email: string;
  email_verified: boolean;
  name: string | null;
  profile: ColumnType<Record<string, unknown>, string | undefined, string>;
  password_hash: string | null;
  disabled_at: Date | null;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface TotpSecrets {
  account_id: string;
  data_key_id: string;
  sealed: Buffer;
  last_step: number;
  created_at: Date;
  last_used_at: Date | null;
}

interface RecoveryCodes {
  account_id: string;
  digest: Digest;
  pepper_id: string;
  for_enrolment: boolean;
  created_at: Date;
  expires_at: Date | null;
}

interface Passkeys {
  credential_id: string;
  passkey_id: string;
  account_id: string;
  name: string;
  public_key: Buffer;
  counter: number;
  transports: string[];
  aaguid: string;
  backup_eligible: boolean;
  backed_up: boolean;
  created_at: Date;
  last_used_at: Date | null;
}

interface RememberedDevices {
  device_id: string;
  account_id: string;
  digest: Digest;
  name: string;
  created_at: Date;
  last_used_at: Date;
  expires_at: Date;
}

interface FactorNeeds {
  account_id: string;
  password: string | null;
  created_at: Date;
}

interface LoginUnlocks {
  account: Digest;
  unlocked_at: Date;
}

interface AccountLinks {
  link_id: string;
  digest: ColumnType<Buffer, Digest, never>;
  account_id: string;
  kind: string;
  email: string | null;
  sent_to: string | null;
  change: JSONColumnType<Record<string, unknown>> | null;
  created_at: Date;
  expires_at: Date;
}

interface Consents {
  account_id: string;
  client_id: string;
  scopes: JSONColumnType<{ openid: string[]; claims: string[]; resources: Record<string, string[]> }>;
  given_at: Date;
}

interface Grants {
  grant_id: ColumnType<Buffer, Digest, never>;
  account_id: string;
  client_id: string;
  payload: StoredJson;
  created_at: Date;
  expires_at: Date;
}

interface Artifacts {
  kind: string;
  artifact_id: ColumnType<Buffer, Digest, never>;
  grant_id: ColumnType<Buffer | null, Digest | null>;
  account_id: string | null;
  client_id: string | null;
  uid: string | null;
  payload: StoredJson;
  consumed_at: Date | null;
  created_at: Date;
  expires_at: Date;
}

interface DeviceCodes {
  device_code: ColumnType<Buffer, Digest, never>;
  user_code: ColumnType<Buffer, Digest, never>;
  client_id: string;
  status: 'pending' | 'claimed' | 'approved' | 'denied';
  claimed_by: ColumnType<Buffer | null, Digest | null>;
  account_id: string | null;
  grant_id: ColumnType<Buffer | null, Digest | null>;
  payload: StoredJson;
  interval_seconds: number;
  polled_at: Date | null;
  polled_too_soon: Generated<boolean>;
  consumed_at: Date | null;
  created_at: Date;
  expires_at: Date;
}

interface BackchannelRequests {
  auth_req_id: ColumnType<Buffer, Digest, never>;
  client_id: string;
  account_id: string;
  status: 'pending' | 'approved' | 'denied';
  grant_id: ColumnType<Buffer | null, Digest | null>;
  binding_message: string | null;
  max_age_seconds: number | null;
  address: string | null;
  ping_id: string | null;
  ping_data_key_id: string | null;
  ping: Buffer | null;
  payload: StoredJson;
  interval_seconds: number;
  polled_at: Date | null;
  polled_too_soon: Generated<boolean>;
  consumed_at: Date | null;
  created_at: Date;
  expires_at: Date;
}

interface UsedOnce {
  purpose: string;
  digest: ColumnType<Buffer, Digest, never>;
  expires_at: Date;
}

interface RevokedTokens {
  jti: string;
  client_id: string;
  revoked_at: Date;
  expires_at: Date;
}

interface SigningKeys {
  kid: string;
  alg: SigningAlg;
  status: 'next' | 'current' | 'previous';
  public_jwk: StoredJson;
  data_key_id: string;
  sealed: Buffer;
  created_at: Date;
  published_at: Date;
  signs_from: Date | null;
  signed_until: Date | null;
}

interface UnusedSigningAlgs {
  alg: SigningAlg;
  since: Date;
}

interface TrustedIssuers {
  issuer: string;
  display_name: string;
  jwks: StoredJson | null;
  jwks_uri: string | null;
  algs: string[];
  purposes: string[];
  disabled_at: Date | null;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface GrantPolicies {
  policy_id: string;
  grant_type: string;
  client_id: string;
  subject_resource: string | null;
  subject_issuer: string | null;
  subject_account: string | null;
  email_domains: string[];
  subjects: string[] | null;
  resource: string;
  mode: string | null;
  max_ttl_seconds: number;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface GrantPolicyScopes {
  policy_id: string;
  scope: string;
  from_scope: string | null;
}

interface SubjectLinks {
  link_id: string;
  issuer: string;
  subject: string;
  account_id: string;
  created_at: Date;
}

interface FailedAttempts {
  key: string;
  points: Generated<number>;
  expire: number | null;
}

interface AttemptCounters {
  key: Digest;
  wrong: number;
  under_way: number;
  under_way_until: Date;
  window_ends_at: Date;
}

interface KnownLogins {
  account: Digest;
  place: Digest;
  expires_at: Date;
}

interface IdempotencyKeys {
  actor_id: string;
  idempotency_key: string;
  request_digest: ColumnType<Buffer, Digest>;
  data_key_id: string | null;
  status: number | null;
  reply: Buffer | null;
  created_at: Date;
}

interface Outbox {
  message_id: string;
  kind: string;
  client_id: string;
  payload: StoredJson;
  data_key_id: string | null;
  sealed: Buffer | null;
  attempts: Generated<number>;
  due_at: Date;
  failed_at: Date | null;
  failure: string | null;
  created_at: Date;
  expires_at: Date;
}

interface Roles {
  name: string;
  description: string;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface RoleResources {
  role: string;
  resource: string;
  scopes: string[];
}

interface Groups {
  group_id: string;
  name: string;
  description: string | null;
  required_acr: RequirableAcr | null;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

interface GroupRoles {
  group_id: string;
  role: string;
}

interface GroupMembers {
  account_id: string;
  group_id: string;
  by_hand: boolean;
  added_at: Date;
}
