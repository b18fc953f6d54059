/** The data of the pages about passwords, e-mail addresses and one-time links. */

export type CredentialPage =
  PasswordPage | LinkPasswordPage | LinkConfirmPage | ForgottenPasswordPage | EmailPage | MailsPage;

export interface NewPasswordFields {
  /** The account's address, for password managers. */
  readonly email: string;
  readonly minLength: number;
  readonly problem: string | undefined;
}

/** The page where a logged-in person changes their password. */
export interface PasswordPage extends NewPasswordFields {
  readonly page: 'password';
  readonly action: string;
  readonly formToken: string;
  readonly backLink: string;
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
}

/** The page where a person asks for a link to a new password. */
export interface ForgottenPasswordPage {
  readonly page: 'forgotten_password';
  readonly action: string;
  readonly email: string;
  readonly problem: string | undefined;
}

/** The page where a logged-in person asks for another e-mail address. */
export interface EmailPage {
  readonly page: 'email';
  readonly action: string;
  readonly formToken: string;
  readonly current: string;
  readonly email: string;
  readonly problem: string | undefined;
  readonly backLink: string;
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
