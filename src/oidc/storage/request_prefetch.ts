/**
 * What the library asks for one after the other while it answers one request, read in one statement: a token's grant,
 * its account and its session with the token itself. Each is given out once, to the request that it was read for.
 */
import { Provider, type AdapterPayload } from 'oidc-provider';
import type { Account } from '../../accounts/account.ts';
import type { Digest } from '../../base/secret.ts';
import type { Related } from './token_rows.ts';

type Kept = { -readonly [Member in keyof Related]: Related[Member] };

const related = new WeakMap<object, Kept>();

/** Keeps rows for the request under way. */
export function prefetch({ grant, session, account }: Related): void {
  if (Provider.ctx) related.set(Provider.ctx, { grant, session, account });
}

export function takeGrant(id: Digest): AdapterPayload | undefined {
  const { grant } = ofThisRequest();
  if (!grant?.id.equals(id)) return undefined;
  ofThisRequest().grant = undefined;
  return grant.payload;
}

export function takeSession(uid: string): AdapterPayload | undefined {
  const { session } = ofThisRequest();
  if (session?.uid !== uid) return undefined;
  ofThisRequest().session = undefined;
  return session.payload;
}

export function takeAccount(accountId: string): Account | undefined {
  const { account } = ofThisRequest();
  if (account?.accountId !== accountId) return undefined;
  ofThisRequest().account = undefined;
  return account;
}

function ofThisRequest(): Kept {
  return (Provider.ctx && related.get(Provider.ctx)) ?? {};
}
