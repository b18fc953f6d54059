/** Backchannel authentication requests (CIBA) as the approval page handles them. */
import type { ConsentedScopes } from './consents.ts';

/** One request, as the person sees it. */
export interface Approval {
  /** The id in the URL of its page. */
  readonly id: string;
  readonly clientId: string;
  readonly accountId: string;
  readonly status: 'waiting' | 'approved' | 'denied' | 'expired';
  /** The requested scopes that the client still has. */
  readonly scopes: ConsentedScopes;
  readonly bindingMessage: string | undefined;
  /** The IP address of the client. */
  readonly address: string | undefined;
  readonly askedAt: Date;
  readonly expiresAt: Date;
  /** A person needs a login at this time or later to approve, in epoch seconds. */
  readonly loginSince: number;
  /** The authentication context that this login needs; `undefined`: any. */
  readonly requiredAcr: string | undefined;
}

/** The login with which the person approved. */
export interface ApprovingLogin {
  /** In epoch seconds. */
  readonly authTime: number;
  readonly acr?: string | undefined;
  readonly amr?: readonly string[] | undefined;
}
