/** The data of the pages of the account centre, as their templates get it. */
import type { Moment, Permissions } from '../page_parts.ts';
import type { NewPasswordFields } from '../credential_pages.ts';
import type { Advice } from './security_panel.ts';

export type Section = 'profile' | 'security' | 'devices' | 'applications' | 'activity' | 'data';

/** What each page of the account centre shows around its section. */
export interface AccountShell {
  readonly section: Section;
  readonly email: string;
  readonly name: string | null;
  /** Proves that a form comes from a page of the same session. */
  readonly formToken: string;
  readonly logoutLink: string;
  readonly menu: readonly {
    readonly section: Section;
    readonly text: string;
    readonly href: string;
    readonly count?: number | undefined;
  }[];
  readonly done?: string | undefined;
  readonly problem?: string | undefined;
}

/** A page that belongs to a section and is not in the menu. */
export type Subpage = 'password' | 'email' | 'passkeys' | 'authenticator' | 'recoveryCodes' | 'rememberedDevices';

export interface AccountSubpage extends AccountShell {
  readonly subpage: Subpage;
  /** Leads to the section. */
  readonly sectionLink: string;
}

export type AccountCenterPage =
  | ProfilePage
  | SecurityPage
  | PasswordPage
  | EmailPage
  | AuthenticatorPage
  | PasskeysPage
  | RecoveryCodesPage
  | RememberedDevicesPage
  | DevicesPage
  | ApplicationsPage
  | ActivityPage
  | DataPage;

export interface ProfilePage extends AccountShell {
  readonly page: 'account_profile';
  readonly emailVerified: boolean;
  /** `undefined` if the server sends no mails. */
  readonly emailLink: string | undefined;
  readonly since: Moment;
  /** Claims of the profile, in the order of the catalogue of texts. */
  readonly claims: readonly { readonly label: string; readonly value: string }[];
  readonly approvals: readonly {
    readonly link: string;
    readonly name: string;
    readonly bindingMessage: string | undefined;
    readonly expiresAt: Moment;
  }[];
  /** The applications that see something of the profile, with what that is. */
  readonly seenBy: readonly { readonly name: string; readonly what: readonly string[] }[];
  readonly applicationsLink: string;
}

export interface SecurityPage extends AccountShell {
  readonly page: 'account_security';
  readonly panels: readonly { readonly template: string; readonly data: object }[];
  readonly advice: readonly Advice[];
}

/** What the pages have in common on which a person changes factors. */
export interface FactorPage extends AccountSubpage {
  /** Leads to a login with the strongest factor of the account. */
  readonly logInAgainLink: string;
  /** Whether the login is recent and strong enough to add, or to remove, a factor. */
  readonly mayAdd: boolean;
  readonly mayRemove: boolean;
}

/** The page where a person changes their password. */
export interface PasswordPage extends AccountSubpage, Pick<NewPasswordFields, 'minLength'> {
  readonly page: 'account_password';
  readonly action: string;
}

/** The page where a person asks for another e-mail address. */
export interface EmailPage extends AccountSubpage {
  readonly page: 'account_email';
  readonly action: string;
  readonly newEmail: string;
}

export interface AuthenticatorPage extends FactorPage {
  readonly page: 'account_authenticator';
  readonly action: string;
  readonly removeAction: string;
  /** The app that the account has. */
  readonly current: { readonly since: Moment; readonly lastUsed: Moment | undefined } | undefined;
  /** The secret of a new app, until a code confirms it. */
  readonly enrolment:
    | {
        readonly sealed: string;
        readonly secret: string;
        /** The QR code: the data of an SVG path, and the number of modules on each side. */
        readonly qrPath: string;
        readonly qrSize: number;
      }
    | undefined;
}

export interface PasskeysPage extends FactorPage {
  readonly page: 'account_passkeys';
  readonly action: string;
  readonly renameAction: string;
  readonly removeAction: string;
  readonly passkeys: readonly {
    readonly passkeyId: string;
    readonly name: string;
    readonly since: Moment;
    readonly lastUsed: Moment | undefined;
    readonly backedUp: boolean;
  }[];
  readonly suggestedName: string;
  /** The options of `navigator.credentials.create`, as JSON. */
  readonly options: string | undefined;
  /** What the browser may forget, as JSON (WebAuthn Level 3, signal methods). */
  readonly signal: string;
}

export interface RecoveryCodesPage extends FactorPage {
  readonly page: 'account_recovery_codes';
  readonly action: string;
  /** Whether the account has a factor that the codes can replace. */
  readonly hasFactor: boolean;
  /** Whether the account has unused codes, and their number in a sentence. */
  readonly hasCodes: boolean;
  readonly left: string;
  /** New codes, which are shown once. */
  readonly codes: readonly string[] | undefined;
}

export interface RememberedDevicesPage extends AccountSubpage {
  readonly page: 'account_remembered_devices';
  readonly forgetAction: string;
  readonly devices: readonly {
    readonly deviceId: string;
    readonly name: string;
    readonly since: Moment;
    readonly lastUsed: Moment;
    readonly until: Moment;
  }[];
}

export interface Device {
  readonly sessionId: string;
  readonly current: boolean;
  /** Such as ‘Firefox on Linux’. */
  readonly device: string;
  readonly icon: string;
  readonly address: string | undefined;
  readonly lastUsed: Moment | null;
  readonly since: Moment;
  readonly until: Moment;
  readonly applications: readonly string[];
}

export interface DevicesPage extends AccountShell {
  readonly page: 'account_devices';
  readonly devices: readonly Device[];
  readonly endAction: string;
  readonly endOthersAction: string;
  readonly endAllAction: string;
}

export interface ApplicationsPage extends AccountShell {
  readonly page: 'account_applications';
  readonly applications: readonly {
    readonly clientId: string;
    readonly name: string;
    readonly since: Moment;
    /** Whether the person is not asked, because the application belongs to this service. */
    readonly firstParty: boolean;
    readonly permissionCount: string;
    readonly permissions: readonly Permissions[];
  }[];
  readonly takeBackAction: string;
}

export interface ActivityPage extends AccountShell {
  readonly page: 'account_activity';
  readonly days: readonly { readonly day: Moment; readonly events: readonly Activity[] }[];
  readonly newestLink: string | undefined;
  readonly olderLink: string | undefined;
}

export interface Activity {
  readonly icon: string;
  readonly sentence: string;
  readonly isAlarming: boolean;
  readonly time: Moment;
  readonly address: string | null;
  readonly byAdmin: boolean;
}

export interface DataPage extends AccountShell {
  readonly page: 'account_data';
  readonly downloadAction: string;
  readonly deleteAction: string;
  /** Whether the problem is the address that was typed. */
  readonly isAddressWrong: boolean;
  /** Whether the login is too old to delete the account with. */
  readonly confirmsFirst: boolean;
}
