/** The data of the pages for people who are not logged in, about passwords and one-time links. */

export type CredentialPage = LinkPasswordPage | LinkConfirmPage | ForgottenPasswordPage | MailsPage;

export interface NewPasswordFields {
  /** The account's address, for password managers. */
  readonly email: string;
  readonly minLength: number;
  readonly problem: string | undefined;
}

/** The page of a link that leads to a password. */
export interface LinkPasswordPage extends NewPasswordFields {
  readonly page: 'link_password';
  /** Whether the account has no password yet. */
  readonly isFirst: boolean;
  readonly action: string;
  readonly formToken: string;
}

/** The page of a link that makes one change, with a button. */
export interface LinkConfirmPage {
  readonly page: 'link_confirm';
  readonly heading: string;
  readonly sentences: readonly string[];
  readonly button: string;
  readonly action: string;
  readonly formToken: string;
  /** Only on a page for a person who is logged in. */
  readonly logoutLink?: string;
}

/** The page where a person asks for a link to a new password. */
export interface ForgottenPasswordPage {
  readonly page: 'forgotten_password';
  readonly action: string;
  readonly email: string;
  readonly problem: string | undefined;
}

/** The mails of a development server. */
export interface MailsPage {
  readonly page: 'mails';
  readonly mails: readonly {
    readonly to: string;
    readonly subject: string;
    readonly sentAt: { readonly iso: string; readonly words: string };
    /** The text, in parts that are links or not. */
    readonly parts: readonly { readonly text: string; readonly isLink: boolean }[];
  }[];
}
