/** The data of the pages of the account centre, as their templates get it. */
import type { Moment, Permissions } from '../page_parts.ts';
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

export type AccountCenterPage = ProfilePage | SecurityPage | DevicesPage | ApplicationsPage | ActivityPage | DataPage;

export interface ProfilePage extends AccountShell {
  readonly page: 'account_profile';
  readonly emailVerified: boolean;
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
  /** Whether the login is too old to delete the account with. */
  readonly confirmsFirst: boolean;
}
