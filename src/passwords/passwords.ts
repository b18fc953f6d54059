/**
 * The rules for new passwords, wherever one is set: in the admin API, at the first start, by a one-time link, and by
 * its owner.
 */
import type { RequirableAcr } from '../base/acr_values.ts';
import type { Egress } from '../egress/egress.ts';
import type { Feature } from '../lifecycle/feature.ts';
import { BreachedPasswords } from './breached_passwords.ts';
import { CommonPasswords } from './common_passwords.ts';
import { PasswordRules } from './password_rules.ts';

export interface PasswordsSettings {
  readonly issuer: string;
  readonly egress: Pick<Egress, 'get'>;
  readonly passwordMinLength: number;
  readonly passwordMinLengthWithSecondFactor: number;
  /** `undefined`: no service is asked whether a password was breached. */
  readonly breachedPasswordsUrl: string | undefined;
  /** Words of the organization, such as names of products. */
  readonly passwordWords: readonly string[];
  /** The context that each login at this server needs; each context that can be required has a second factor. */
  readonly requiredAcr: RequirableAcr | undefined;
}

export function createPasswords(settings: PasswordsSettings): {
  readonly passwordRules: PasswordRules;
  readonly feature: Feature;
} {
  const { issuer, egress, breachedPasswordsUrl: url, requiredAcr } = settings;
  let loading: Promise<CommonPasswords> | undefined;
  const common = (): Promise<CommonPasswords> => (loading ??= CommonPasswords.load());
  const passwordRules = new PasswordRules({
    common,
    breached: url === undefined ? undefined : new BreachedPasswords(egress, url),
    // a factor that an account happens to have may be removed, and the password stays
    minLength: requiredAcr === undefined ? settings.passwordMinLength : settings.passwordMinLengthWithSecondFactor,
    serviceWords: ['gatehouse', ...new URL(issuer).hostname.split('.'), ...settings.passwordWords],
  });
  // a missing file ends the start, and not the first change of a password
  return { passwordRules, feature: { start: async () => void (await common()) } };
}
