/** Parts of the data of several pages. */

/** What an API, or this server, allows an application to do. */
export interface Permissions {
  readonly api: string;
  readonly scopes: readonly Permission[];
}

export interface Permission {
  readonly name: string;
  readonly description: string;
  /** What that means for the person, in a second sentence. */
  readonly means?: string | undefined;
  /** Absent for a scope that neither reads nor writes, such as `offline_access`. */
  readonly access?: 'read' | 'write' | undefined;
  /** An icon of views/icons.svg. */
  readonly icon: string;
}

/** A time as ISO 8601 and as text. */
export interface Moment {
  readonly iso: string;
  readonly words: string;
}
