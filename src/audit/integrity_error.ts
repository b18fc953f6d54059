/** The error for an export that fails verification. Its message is a sentence for an auditor. */
import type { Entry } from './chain.ts';

export class IntegrityError extends Error {}

export function nameOf({ stream, sequence, event, occurred_at }: Entry): string {
  return `Entry ${sequence} of stream ${stream} (${event}, ${occurred_at})`;
}
