/**
 * Finds accounts by a part of a name or e-mail address. The database has international domains in A-labels, so a part of
 * one in the letters of its language is compared with the domains of all accounts that have such labels.
 */
import { sql, type Expression, type SqlBool } from 'kysely';
import { canonicalDomain, canonicalEmail, domainInLetters } from '../base/email_address.ts';
import type { Reader } from '../db/connection.ts';

/** Only admins make accounts; the bound is for the node's memory. */
const DOMAINS_AT_MOST = 10_000;

/** Returns the condition on a row of `accounts`. Case does not matter. */
export async function matching(reader: Reader, search: string): Promise<Expression<SqlBool>> {
  const { local, domain } = partsOf(search);
  const domains = await internationalDomains(reader, (one) =>
    local === undefined ? one.includes(domain) : one.startsWith(domain),
  );
  const whole = sql<SqlBool>`email ilike ${`%${escaped(partOfEmail(search))}%`} or name ilike ${`%${escaped(search)}%`}`;
  if (domains.length === 0) return sql<SqlBool>`(${whole})`;
  return sql<SqlBool>`(${whole} or (
    split_part(email, '@', 2) = any(${domains}) and split_part(email, '@', 1) like ${`%${escaped(local ?? '')}`}))`;
}

/** The domains that have an A-label and whose form in letters `accepts` takes. */
async function internationalDomains(reader: Reader, accepts: (domain: string) => boolean): Promise<string[]> {
  const domain = sql<string>`split_part(email, '@', 2)`;
  const rows = await reader
    .selectFrom('accounts')
    .select(domain.as('domain'))
    .distinct()
    .where('email', 'like', '%@%xn--%')
    .limit(DOMAINS_AT_MOST)
    .execute();
  return rows.map((row) => row.domain).filter((one) => accepts(domainInLetters(one)));
}

/** The parts before and after the @, as they are in an address with its domain in letters. */
function partsOf(search: string): { readonly local?: string; readonly domain: string } {
  const text = search.trim().normalize('NFKC').toLowerCase().replaceAll('\u3002', '.');
  const at = text.lastIndexOf('@');
  return at < 0 ? { domain: text } : { local: text.slice(0, at), domain: text.slice(at + 1) };
}

/** The part of stored addresses that the search text is compared with: without an @, it may be part of a domain. */
function partOfEmail(search: string): string {
  return search.includes('@') ? canonicalEmail(search) : canonicalDomain(search.trim());
}

function escaped(text: string): string {
  return text.replaceAll(/[\\%_]/g, (character) => `\\${character}`);
}
