/** A panel of the page /account/security, which a way to log in brings. */
import type { Account } from '../../accounts/account.ts';
import type { AccountFactors } from '../../factors/account_factors.ts';

export interface SecurityPanel {
  /** The template `views/<template>.eta`; it gets the data as `it.panel`. */
  readonly template: string;
  /** `undefined` if the panel has nothing to show to this person. */
  describe(viewer: PanelViewer): Promise<PanelContent | undefined>;
}

/** The person who reads the page. */
export interface PanelViewer {
  readonly account: Account;
  readonly factors: AccountFactors;
  readonly sessionId: string;
  readonly now: Date;
}

export interface PanelContent {
  readonly data: object;
  /** What the page advises above its panels. */
  readonly advice?: Advice | undefined;
}

/** Something that makes the account safer, with the page where the person does it. */
export interface Advice {
  readonly sentence: string;
  readonly link: { readonly text: string; readonly href: string };
}
