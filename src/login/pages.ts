/** Every page that a person can see, as the data that its template of views/ is given. */

export type Page =
  | LoginPage
  | ConsentPage
  | FormPostPage
  | DevicePage
  | DeviceConfirmPage
  | ApprovalPage
  | AccountPage
  | LogoutPage
  | RedirectPage
  | FrontPage
  | LoginResultPage
  | NoticePage;

/** An application as people are told about it. Links are http or https. */
export interface Application {
  readonly name: string;
  readonly clientUri?: string | undefined;
  readonly policyUri?: string | undefined;
  readonly tosUri?: string | undefined;
  /** How little is known of who it is, in a sentence. */
  readonly caution?: string | undefined;
  /** Whether the decision can't be remembered. */
  readonly asksAlways?: boolean | undefined;
}

export interface LoginPage {
  readonly page: 'login';
  readonly application: Application;
  readonly action: string;
  /** `undefined` where nobody waits to be told. */
  readonly cancelAction: string | undefined;
  readonly email: string;
  readonly remember: boolean;
  /** What went wrong with the last try. */
  readonly problem?: string | undefined;
  /** Why someone who is logged in is asked again: what the application wants, after its name. */
  readonly demand?: string | undefined;
  /** Set where someone is logged in and has to say so again: where to go for logging in as someone else. */
  readonly otherAccountLink?: string | undefined;
}

export interface ConsentPage {
  readonly page: 'consent';
  readonly application: Application;
  readonly action: string;
  readonly email: string;
  /** Where the person goes from here, in words; nowhere, where it is a device that waits. */
  readonly destination: string | undefined;
  /** What is asked for now. */
  readonly asked: readonly Permissions[];
  /** What was allowed before and is asked for again. */
  readonly allowedBefore: readonly Permissions[];
  /** What is asked for in detail, such as one payment: for this time, every time. */
  readonly details: readonly Detail[];
  /** How long the access lasts, in a sentence. */
  readonly access: string | undefined;
}

/** One authorization detail (RFC 9396), as it was requested and in words. */
export interface Detail {
  readonly title: readonly { readonly text: string; readonly isValue: boolean }[];
  readonly description?: string | undefined;
  readonly type: string;
  readonly apis: readonly string[];
  readonly members: readonly { readonly label: string; readonly value: string }[];
}

/** Where the code that a device shows is entered. */
export interface DevicePage {
  readonly page: 'device';
  readonly action: string;
  readonly xsrf: string;
  /** What was typed, or what the link filled in. */
  readonly code: string;
  readonly problem?: string | undefined;
}

/** Whether the device is the person's own: asked before anything else, whoever they are. */
export interface DeviceConfirmPage {
  readonly page: 'device_confirm';
  readonly application: string;
  readonly action: string;
  readonly xsrf: string;
  readonly code: string;
  readonly confirmation: string;
  readonly asked: readonly Permissions[];
  /** How long the access lasts, in a sentence. */
  readonly access: string | undefined;
}

/** What an application asks somebody who is not there (CIBA). */
export interface ApprovalPage {
  readonly page: 'approval';
  readonly application: Application;
  readonly action: string;
  readonly formToken: string;
  readonly email: string;
  /** Shown by the application too, so that people can compare the two. */
  readonly bindingMessage: string | undefined;
  readonly asked: readonly Permissions[];
  readonly askedAt: Moment;
  readonly expiresAt: Moment;
  readonly address: string | undefined;
  /** How long the access lasts, in a sentence. */
  readonly access: string | undefined;
  /** The login is too old to approve with. */
  readonly confirmsFirst: boolean;
}

/** What one API, or this server itself, lets an application do. */
export interface Permissions {
  readonly api: string;
  readonly scopes: readonly { readonly name: string; readonly description: string }[];
}

export interface AccountPage {
  readonly page: 'account';
  readonly email: string;
  readonly name: string | null;
  /** Proves that a form was on a page of this very session. */
  readonly formToken: string;
  readonly done?: string | undefined;
  readonly endSessionAction: string;
  readonly endAllSessionsAction: string;
  readonly takeBackAction: string;
  readonly logoutLink: string;
  readonly approvals: readonly {
    readonly link: string;
    readonly name: string;
    readonly bindingMessage: string | undefined;
    readonly expiresAt: Moment;
  }[];
  readonly sessions: readonly {
    readonly sessionId: string;
    readonly current: boolean;
    readonly since: Moment;
    readonly until: Moment;
    readonly applications: readonly string[];
  }[];
  readonly applications: readonly {
    readonly clientId: string;
    readonly name: string;
    readonly since: Moment;
    readonly permissions: readonly Permissions[];
  }[];
}

/** A time for machines and for people. */
export interface Moment {
  readonly iso: string;
  readonly words: string;
}

export interface LogoutPage {
  readonly page: 'logout';
  /** oidc-provider's form, as HTML: the only value that a template does not escape. */
  readonly form: string;
  readonly formId: string;
  /** The application that asked for the logout, where one did. */
  readonly application?: string | undefined;
  /** Set for an application that registered itself: where it wants the person to go afterwards, in words. */
  readonly unchecked?: { readonly destination: string; readonly caution: string } | undefined;
}

/** Names where an application that registered itself wants to have the browser sent, which goes there by a click. */
export interface RedirectPage {
  readonly page: 'redirect';
  readonly heading: string;
  /** What became of the request. */
  readonly sentence: string;
  readonly application: string;
  readonly caution: string;
  /** Where the person goes from here, in words. */
  readonly destination: string;
  readonly action: string;
  /** Set where the answer goes by POST. */
  readonly fields: readonly { readonly name: string; readonly value: string }[] | undefined;
  readonly error: { readonly code: string; readonly description: string | undefined } | undefined;
}

/** Carries an answer to the application by POST: by itself where scripts run, by a button where they don't. */
export interface FormPostPage {
  readonly page: 'form_post';
  readonly action: string;
  readonly fields: readonly { readonly name: string; readonly value: string }[];
  /** Where the person goes from here, in words; nowhere, where it is a page of ours. */
  readonly destination: string | undefined;
  /** What submits the form; the policy allows it by its hash. */
  readonly script: string;
}

/** At the issuer itself: what this is, and where to go. */
export interface FrontPage {
  readonly page: 'front';
  readonly accountLink: string;
  readonly deviceLink: string;
  readonly discoveryLink: string;
  /** `undefined` where the admin API is on a port of its own. */
  readonly documentationLink: string | undefined;
  /** Where a login can be tried: in development. */
  readonly tryLink: string | undefined;
}

/** What came back from a login of the demo client. */
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

/** A page that only says something: an error, a farewell. */
export interface NoticePage {
  readonly page: 'notice';
  readonly heading: string;
  readonly sentences: readonly string[];
  /** Where to go on from here. */
  readonly link?: { readonly text: string; readonly href: string } | undefined;
  /** What a developer would ask for: an error code with what the server says about it, an id to find in the logs. */
  readonly error?: { readonly code: string; readonly description?: string | undefined } | undefined;
  readonly requestId?: string | undefined;
}
