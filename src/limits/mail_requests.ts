/**
 * Limits requests that send mails: for a new password by strangers, and for another address by people who are logged in.
 * All requests count, whether an account exists or not, so that the limit tells nothing about accounts.
 */
import type { AttemptLimit } from './attempt_counters.ts';
import { AttemptLimiter, type Attempted, type AttemptLimiterSettings } from './attempt_limiter.ts';
import { networkOf } from './rate_limit_key.ts';

const RESETS_PER_ADDRESS: AttemptLimit = { name: 'reset_address', wrong: 20, seconds: 900 };
const EMAIL_CHANGES_PER_ACCOUNT: AttemptLimit = { name: 'email_change_account', wrong: 5, seconds: 3_600 };

export class MailRequests {
  readonly #limiter: AttemptLimiter;

  constructor(settings: AttemptLimiterSettings) {
    this.#limiter = new AttemptLimiter(settings);
  }

  resetFrom(address: string, request: () => Promise<void>): Promise<Attempted<void>> {
    return this.#limiter.attempt([{ limit: RESETS_PER_ADDRESS, of: networkOf(address) }], request, () => false);
  }

  emailChangeOf(accountId: string, request: () => Promise<void>): Promise<Attempted<void>> {
    return this.#limiter.attempt([{ limit: EMAIL_CHANGES_PER_ACCOUNT, of: accountId }], request, () => false);
  }
}
