/** Groups: each holds roles and has accounts as members. Its name is what applications see. */
import { z } from 'zod';
import { ONE_OF_REQUIRABLE_ACRS, REQUIRABLE_ACRS, type RequirableAcr } from '../base/acr_values.ts';
import { line, roleName } from './role.ts';

const settings = {
  name: line(128).describe('The name that applications see in the claim groups.'),
  description: line(200).nullable().describe('For admins; no application sees it.'),
  roles: z
    .array(roleName)
    .max(100, 'must not name more than 100 roles')
    .refine((all) => new Set(all).size === all.length, 'must not name a role twice')
    .describe('The roles of its members.'),
  required_acr: z
    .enum(REQUIRABLE_ACRS, ONE_OF_REQUIRABLE_ACRS)
    .nullable()
    .describe('The authentication context that each login of its members needs. null: a password is enough.'),
};

export const NewGroup = z.strictObject({
  ...settings,
  description: settings.description.default(null),
  roles: settings.roles.default([]),
  required_acr: settings.required_acr.default(null),
});
export const GroupPatch = z.strictObject(settings).partial();

export interface Group {
  readonly groupId: string;
  readonly name: string;
  readonly description: string | null;
  /** The names of the roles that the group holds, in order. */
  readonly roles: readonly string[];
  readonly requiredAcr: RequirableAcr | null;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}
