/**
 * Rows that the library reads one by one during a request, prefetched in one statement: a token's grant, account and
 * session together with the token. Each row is returned once, to the request that prefetched it.
 */
import { Provider, type AdapterPayload } from 'oidc-provider';
import type { Digest } from '../../base/secret.ts';
import type { Person, Related } from './token_rows.ts';

type Kept = { -readonly [Member in keyof Related]: Related[Member] };

const related = new WeakMap<object, Kept>();

/** Keeps the rows for the current request. */
export function prefetch({ grant, session, person }: Related): void {
  if (Provider.ctx) related.set(Provider.ctx, { grant, session, person });
}

export function takeGrant(id: Digest): AdapterPayload | undefined {
  const { grant } = prefetchedRows();
  if (!grant?.id.equals(id)) return undefined;
  prefetchedRows().grant = undefined;
  return grant.payload;
}

export function takeSession(uid: string): AdapterPayload | undefined {
  const { session } = prefetchedRows();
  if (session?.uid !== uid) return undefined;
  prefetchedRows().session = undefined;
  return session.payload;
}

export function takePerson(accountId: string): Person | undefined {
  const { person } = prefetchedRows();
  if (person?.account.accountId !== accountId) return undefined;
  prefetchedRows().person = undefined;
  return person;
}

function prefetchedRows(): Kept {
  return (Provider.ctx && related.get(Provider.ctx)) ?? {};
}
