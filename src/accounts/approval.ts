/** What a person is asked over the backchannel (CIBA), and decides about on a page of their own. */
import type { ConsentedScopes } from './consents.ts';

/** One request, as its person sees it. */
export interface Approval {
  /** Names it in the address of its page. */
  readonly id: string;
  readonly clientId: string;
  readonly accountId: string;
  readonly status: 'waiting' | 'approved' | 'denied' | 'expired';
  /** What is asked for, as far as the client still has it. */
  readonly scopes: ConsentedScopes;
  readonly bindingMessage: string | undefined;
  /** Where the client asked from. */
  readonly address: string | undefined;
  readonly askedAt: Date;
  readonly expiresAt: Date;
  /** Approving takes a login at this time or later, in epoch seconds. */
  readonly loginSince: number;
}

/** The login that an approval rests on. */
export interface ApprovingLogin {
  /** In epoch seconds. */
  readonly authTime: number;
  readonly acr?: string | undefined;
  readonly amr?: readonly string[] | undefined;
}
