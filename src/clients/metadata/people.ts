/** Metadata members that say which people may use a client. Only an admin may set them. */
import { z } from 'zod';
import type { Check } from './check.ts';

export const people = {
  allowed_groups: z
    .array(z.string().min(1, 'must not be empty').max(100))
    .min(1, 'must name at least one group; omit it if everybody may use the client')
    .max(100, 'must not name more than 100 groups')
    .optional()
    .describe('The ids of the groups whose members may use the client. Default: everybody.'),
};

export const checkPeople: Check<typeof people> = (client, object) => {
  const { allowed_groups: groups } = client;
  if (groups && new Set(groups).size !== groups.length) object(['allowed_groups'], 'must not name a group twice');
};
