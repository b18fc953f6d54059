/** The ids in forms of the account centre. This server made them; other values are refused without a query. */
import { z } from 'zod';

export const OwnId = z.string().regex(/^[\x21-\x7e]{1,2048}$/);
