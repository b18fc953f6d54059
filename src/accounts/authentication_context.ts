/**
 * Authentication contexts (`acr`): how strong a login was, derived from its methods (`amr`, RFC 8176). A stronger
 * context satisfies a request for a weaker one.
 */
import { MFA_ACR, PASSWORD_ACR, PHISHING_RESISTANT_ACR } from '../base/acr_values.ts';

/** The methods of each kind of login. A passkey that verified its user is two factors. */
export const PASSWORD_METHODS = ['pwd'] as const;
export const PASSKEY_METHODS = ['pop', 'user', 'mfa'] as const;
export const TOTP_METHODS = ['otp', 'mfa'] as const;
/** Not a method of RFC 8176: a recovery code replaces a factor only until its owner has enrolled a new one. */
export const RECOVERY_CODE_METHOD = 'recovery_code';

interface AuthenticationContext {
  readonly acr: string;
  /** The methods that the context requires, all of them. */
  readonly methods: readonly string[];
}

/** Weakest first. */
const CONTEXTS: readonly AuthenticationContext[] = [
  { acr: PASSWORD_ACR, methods: PASSWORD_METHODS },
  { acr: MFA_ACR, methods: ['mfa'] },
  { acr: PHISHING_RESISTANT_ACR, methods: PASSKEY_METHODS },
];

/** The contexts that a login at this server can have. */
export function acrValues({ passkeys }: { readonly passkeys: boolean }): readonly string[] {
  return CONTEXTS.map(({ acr }) => acr).filter((acr) => passkeys || acr !== PHISHING_RESISTANT_ACR);
}

/** Returns the strongest context for these methods, if any. */
export function acrOf(amr: readonly string[]): string | undefined {
  return CONTEXTS.findLast(({ methods }) => methods.every((method) => amr.includes(method)))?.acr;
}

/** Whether a login with the context `acr` is at least as strong as `wanted`. No login satisfies an unknown context. */
export function satisfies(acr: string | undefined, wanted: string): boolean {
  const level = (name: string | undefined): number => CONTEXTS.findIndex((context) => context.acr === name);
  return level(wanted) >= 0 && level(acr) >= level(wanted);
}
