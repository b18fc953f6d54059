/** The data of every page, as its template in views/ gets it. */
import type { CredentialPage } from './credential_pages.ts';

import type { AccountCenterPage } from './account/account_pages.ts';
import type { Moment, Permissions } from './page_parts.ts';

export type { Moment, Permission, Permissions } from './page_parts.ts';

export type Page =
  | CredentialPage
  | LoginPage
  | SecondStepPage
  | AccountChoicePage
  | NotAllowedPage
  | ConsentPage
  | FormPostPage
  | DevicePage
  | ApprovalPage
  | AccountCenterPage
  | LogoutPage
  | RedirectPage
  | FrontPage
  | LoginResultPage
  | NoticePage;

/** What the pages show about an application. Links are http or https. */
export interface Application {
  readonly name: string;
  readonly clientUri?: string | undefined;
  /** `clientUri`, if an admin or a trusted software statement has set it. */
  readonly vettedUri?: string | undefined;
  readonly policyUri?: string | undefined;
  readonly tosUri?: string | undefined;
  /** A sentence that warns of an unverified application. */
  readonly caution?: string | undefined;
  /** Whether the application must ask every time, because the decision cannot be remembered. */
  readonly asksAlways?: boolean | undefined;
  /** The addresses of the people who run it, if an admin has set them. */
  readonly contacts?: readonly string[] | undefined;
  /** Whether people are not asked for consent. */
  readonly firstParty?: boolean | undefined;
}

/** Why a page warns of an application. `on_device_only`: it is known by its address, but any local program can pose as it. */
export type Caution =
  | { readonly reason: 'registered_itself' }
  | { readonly reason: 'known_by_address' | 'on_device_only'; readonly host: string };

export interface LoginPage {
  readonly page: 'login';
  readonly application: Application;
  readonly action: string;
  /** `undefined` if no application expects a response. */
  readonly cancelAction: string | undefined;
  readonly email: string;
  readonly remember: boolean;
  /** `undefined` if the server sends no mails. */
  readonly forgottenLink: string | undefined;
  /** The error of the last attempt. */
  readonly problem?: string | undefined;
  /** Why a logged-in person has to log in again, as a sentence. */
  readonly demand?: string | undefined;
  /** Set if this server offers passkeys. */
  readonly passkey: PasskeyRequest | undefined;
  /** A passkey that the browser offered and that is not registered here. */
  readonly unknownCredential?: string | undefined;
  /** The link to log in with another account, if a person is logged in and has to confirm it. */
  readonly otherAccountLink?: string | undefined;
}

/** The page of the second step, after the right password. */
export interface SecondStepPage {
  readonly page: 'second_step';
  readonly application: Application;
  readonly email: string;
  readonly name: string | null;
  readonly action: string;
  readonly takesCode: boolean;
  readonly takesRecoveryCode: boolean;
  /** Whether the person may ask not to repeat the second step on this device. */
  readonly offersToRemember: boolean;
  readonly passkey: PasskeyRequest | undefined;
  /** Whether the account needs a code of an admin for its first factor. */
  readonly enrolsByCode: boolean;
  /**
   * Leads to the page on which a person adds a factor, if the login accepts none that the account has. `undefined` if the
   * login is for that page.
   */
  readonly enrolLink: string | undefined;
  readonly otherAccountLink: string;
  /** `undefined` if no application expects a response. */
  readonly cancelAction: string | undefined;
  readonly problem?: string | undefined;
}

/** What the script of a page needs to ask the browser for a passkey. */
export interface PasskeyRequest {
  readonly rpId: string;
  readonly action: string;
  /** The options of `navigator.credentials`, as JSON. */
  readonly options: string;
}

/** The page that asks a logged-in person with which account to go on. */
export interface AccountChoicePage {
  readonly page: 'account_choice';
  readonly application: Application;
  readonly action: string;
  readonly cancelAction: string;
  readonly email: string;
  readonly name: string | null;
  readonly otherAccountLink: string;
}

/** The page for a person who is in none of the groups that may use the application. */
export interface NotAllowedPage {
  readonly page: 'not_allowed';
  readonly application: Application;
  /** The form that goes back to the application. */
  readonly action: string;
  readonly email: string;
  /** The addresses of the people who can help, from the application's registration. */
  readonly contacts: readonly string[];
}

export interface ConsentPage {
  readonly page: 'consent';
  readonly application: Application;
  readonly action: string;
  readonly email: string;
  readonly name: string | null;
  /** The link to log in with another account. */
  readonly otherAccountLink: string;
  /** The code that the waiting device shows. */
  readonly userCode: string | undefined;
  /** Where the browser goes after the decision, as text; `undefined` if a device is waiting. */
  readonly destination: string | undefined;
  /** The scopes that the application requests now. */
  readonly asked: readonly Permissions[];
  /** The scopes that the person allowed before and the application requests again. */
  readonly allowedBefore: readonly Permissions[];
  /** The requested authorization details, such as one payment: they are allowed once and requested every time. */
  readonly details: readonly Detail[];
  /** How long the access lasts, in a sentence. */
  readonly access: string | undefined;
  /** Whether the person may have the decision remembered for later requests. */
  readonly offersToRemember: boolean;
}

/** One authorization detail (RFC 9396), as requested and as text. */
export interface Detail {
  readonly title: readonly { readonly text: string; readonly isValue: boolean }[];
  readonly description?: string | undefined;
  readonly type: string;
  readonly apis: readonly string[];
  readonly members: readonly { readonly label: string; readonly value: string }[];
}

/** The page where the person enters the code of a device. */
export interface DevicePage {
  readonly page: 'device';
  readonly action: string;
  readonly xsrf: string;
  /** The code that the person entered, or the code in the link. */
  readonly code: string;
  readonly problem?: string | undefined;
}

/** The page of a backchannel authentication request (CIBA). */
export interface ApprovalPage {
  readonly page: 'approval';
  readonly application: Application;
  readonly action: string;
  readonly formToken: string;
  readonly email: string;
  readonly logoutLink: string;
  readonly name: string | null;
  /** The application shows it too, so that the person can compare. */
  readonly bindingMessage: string | undefined;
  readonly asked: readonly Permissions[];
  readonly askedAt: Moment;
  readonly expiresAt: Moment;
  readonly address: string | undefined;
  /** How long the access lasts, in a sentence. */
  readonly access: string | undefined;
  /** Whether the login is too old to approve with. */
  readonly confirmsFirst: boolean;
}

export interface LogoutPage {
  readonly page: 'logout';
  /** The form of oidc-provider as HTML; the only value that a template does not escape. */
  readonly form: string;
  readonly formId: string;
  /** The application that requested the logout, if any. */
  readonly application?: string | undefined;
  /** Set if the application asked for a redirect that the server does not make: says so. */
  readonly staysHere?: string | undefined;
  /** Set for an application that registered itself: where it wants to redirect the browser after the logout. */
  readonly unchecked?: { readonly destination: string; readonly caution: string } | undefined;
}

/**
 * Shows where an application that registered itself wants to redirect the browser; the person continues with a click.
 */
export interface RedirectPage {
  readonly page: 'redirect';
  readonly heading: string;
  /** The outcome of the request. */
  readonly sentence: string;
  readonly application: string;
  readonly caution: string;
  /** Where the browser goes next, as text. */
  readonly destination: string;
  readonly action: string;
  /** Set if the response is sent by POST. */
  readonly fields: readonly { readonly name: string; readonly value: string }[] | undefined;
  readonly error: { readonly code: string; readonly description: string | undefined } | undefined;
}

/** Sends a response to the application by POST: with a script, or with a button if scripts are disabled. */
export interface FormPostPage {
  readonly page: 'form_post';
  readonly action: string;
  readonly fields: readonly { readonly name: string; readonly value: string }[];
  /** Where the browser goes next, as text; `undefined` if it is one of our own pages. */
  readonly destination: string | undefined;
  /** The script that submits the form; the Content-Security-Policy allows its hash. */
  readonly script: string;
}

/** The page at the issuer's URL, with links to the other pages. */
export interface FrontPage {
  readonly page: 'front';
  readonly accountLink: string;
  readonly deviceLink: string;
  readonly discoveryLink: string;
  /** `undefined` if the admin API is on a separate port. */
  readonly documentationLink: string | undefined;
  /** The link to the mails that were not sent, in development. */
  readonly mailsLink: string | undefined;
  /** The link to the trial login, in development. */
  readonly tryLink: string | undefined;
}

/** The result of a trial login with the demo client. */
export interface LoginResultPage {
  readonly page: 'login_result';
  readonly scopes: readonly string[];
  readonly resource: string;
  readonly minutes: number;
  readonly claims: readonly { readonly name: string; readonly value: string }[];
  readonly accountLink: string;
  readonly againLink: string;
  readonly frontLink: string;
}

/** A page with only a message, such as an error or a confirmation. */
export interface NoticePage {
  readonly page: 'notice';
  /** How the page looks. Without it, a page with an error or a request id tells of a problem. */
  readonly tone?: 'done' | 'problem' | 'info' | undefined;
  readonly heading: string;
  readonly sentences: readonly string[];
  /** The link to the next page. */
  readonly link?: { readonly text: string; readonly href: string } | undefined;
  /** Information for developers: an error code with its description, and a request id to find in the logs. */
  readonly error?: { readonly code: string; readonly description?: string | undefined } | undefined;
  readonly requestId?: string | undefined;
  /** In development: what the request sent, and what is registered for the application. */
  readonly compared?: readonly Compared[] | undefined;
}

export interface Compared {
  readonly name: string;
  readonly sent: string | undefined;
  readonly registered: readonly string[];
}
