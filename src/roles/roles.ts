/**
 * Roles are named sets of scopes of APIs; groups hold roles and have accounts as members. This folder stores them, keeps
 * roles and groups in memory, and decides which scopes a person may have of an API.
 */
import type { Database } from '../db/connection.ts';
import type { Feature } from '../lifecycle/feature.ts';
import { RoleDirectory } from './role_directory.ts';

export interface Roles {
  readonly roles: RoleDirectory;
  readonly feature: Feature;
}

export interface RolesSettings {
  readonly database: Database;
  /** Identifies the admin API as a resource. */
  readonly adminResource: string;
}

export function createRoles({ database, adminResource }: RolesSettings): Roles {
  const roles = new RoleDirectory(database, adminResource);
  const feature: Feature = {
    caches: [{ topic: 'role', onChange: () => roles.load(), load: () => roles.load() }],
  };
  return { roles, feature };
}
