/**
 * Roles: each is a named set of scopes of APIs. A scope that is in a role is for people who hold a role with it; a scope
 * that is in no role is for every person.
 */
import { z } from 'zod';
import { ResourceAccess } from '../clients/metadata/access.ts';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';

export const roleName = z
  .string()
  .max(64, 'must not be longer than 64 characters')
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._:-]*$/,
    'must begin with a letter or digit, and consist of letters, digits, dots, dashes, colons and underscores',
  );

export const line = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .refine(isVisible, INVISIBLE_REFUSED);

const settings = {
  description: line(200).describe('What a person with this role may do.'),
  resources: z
    .array(ResourceAccess)
    .min(1, 'must name at least one resource')
    .max(100, 'must not name more than 100 resources')
    .describe('Resources with the scopes that are for people with this role.'),
};

export const NewRole = z.strictObject({ name: roleName, ...settings });
export const RolePatch = z.strictObject(settings).partial();

export interface Role {
  readonly name: string;
  readonly description: string;
  readonly resources: readonly ResourceAccess[];
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}
