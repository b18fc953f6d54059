/** Derives keys and secrets from data keys of the vault. Each of them is the same on every node. */
import { addSeconds, type Clock } from '../base/clock.ts';
import type { Digest } from '../base/secret.ts';
import { createSubjects, type Subjects } from '../clients/subject.ts';
import type { Database } from '../db/connection.ts';
import { CookieSignatures } from '../http/cookie_signatures.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { Vault } from '../vault/vault.ts';

export interface DerivedKeysSettings {
  readonly database: Database;
  readonly vault: Vault;
  readonly sessionTtlSeconds: number;
  readonly clock: Clock;
}

export interface DerivedKeys {
  readonly cookieSignatures: CookieSignatures;
  readonly digestUserCode: (userCode: string) => Digest;
  readonly digestAttempt: (attempt: string) => Digest;
  /** A key of 32 bytes. */
  readonly refreshTokenKey: Buffer;
  /** A secret of 32 bytes. */
  readonly dpopNonceSecret: Buffer;
  /** A key of 32 bytes. */
  readonly passkeyChallengeKey: Buffer;
  readonly subjects: Subjects;
  readonly feature: Feature;
}

export async function deriveKeys({
  database,
  vault,
  sessionTtlSeconds,
  clock,
}: DerivedKeysSettings): Promise<DerivedKeys> {
  const now = clock();
  const browserKey = await vault.current('cookies', now);
  const dpopNonceKey = await vault.current('dpop_nonces', now);
  const subjectKey = await vault.current('pairwise_subjects', now);
  const { sha256_from: sha256From } = await database
    .selectFrom('cookie_signatures')
    .selectAll()
    .executeTakeFirstOrThrow();
  return {
    cookieSignatures: new CookieSignatures({
      key: browserKey.digest('signs cookies with SHA-256'),
      formerKey: browserKey.digest('signs cookies').toString('base64url'),
      sha256From,
      sha1Until: addSeconds(sha256From, sessionTtlSeconds),
      clock,
    }),
    digestUserCode: (userCode) => browserKey.digest(`user code ${userCode}`),
    digestAttempt: (attempt) => browserKey.digest(`attempt ${attempt}`),
    refreshTokenKey: browserKey.digest('marks refresh tokens'),
    dpopNonceSecret: dpopNonceKey.digest('makes DPoP nonces'),
    passkeyChallengeKey: browserKey.digest('makes passkey challenges'),
    subjects: createSubjects(subjectKey),
    feature: { verify: () => vault.requireStored([browserKey, dpopNonceKey, subjectKey]) },
  };
}
