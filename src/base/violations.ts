/** Converts the issues of a zod schema to violations, each with a JSON pointer (RFC 6901). */
import type { z } from 'zod';
import type { Violation } from './refusal.ts';

/** Enough to help a caller; an invalid body must not get a response larger than itself. */
const VIOLATIONS_AT_MOST = 50;
const LONGEST_STEP = 100;

export function jsonPointer(path: readonly PropertyKey[]): string {
  return path
    .map((step) => `/${String(step).slice(0, LONGEST_STEP).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}

/** `name` converts a path to the caller's name for it: a pointer for a body, a plain name for a parameter. */
export function violationsOf(
  error: z.ZodError,
  name: (path: readonly PropertyKey[]) => string = jsonPointer,
): Violation[] {
  return error.issues
    .flatMap((issue): Violation[] => {
      if (issue.code !== 'unrecognized_keys') return [{ path: name(issue.path), detail: issue.message }];
      return issue.keys.map((key) => ({ path: name([...issue.path, key]), detail: 'is not known' }));
    })
    .slice(0, VIOLATIONS_AT_MOST);
}

/** Completes the sentence that a member's path begins, if its schema has no message. Never repeats the value. */
export const inPlainWords: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is required' : `must be ${TYPES[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return issue.input === undefined ? 'is required' : `must be ${issue.values.map(String).join(' or ')}`;
    case 'too_small':
      return `must ${issue.origin === 'string' ? 'have a length of' : 'be'} at least ${issue.minimum}`;
    case 'too_big':
      return `must ${issue.origin === 'string' ? 'have a length of' : 'be'} at most ${issue.maximum}`;
    case 'invalid_format':
      return 'has an invalid format';
    default:
      return undefined;
  }
};

const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
};
