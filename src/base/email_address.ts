/**
 * E-mail addresses in the form in which the server stores and compares them: in lower case, and the domain in A-labels
 * (RFC 5891, 2.3), as mail servers know it. A person may write the domain in the letters of their language: some
 * browsers send it as it was typed, others send A-labels.
 */
import { domainToASCII, domainToUnicode } from 'node:url';

/** The length of an address, in characters (RFC 5321, 4.5.3.1.3, without the angle brackets). */
export const EMAIL_LIMIT = 254;

/**
 * A dot-atom of RFC 5322 (3.2.3) before the @, with at most 64 characters (RFC 5321, 4.5.3.1.1), and a domain with at
 * least two labels after it, each with at most 63 (RFC 1035, 2.3.4). The part before the @ is ASCII: mail servers
 * without SMTPUTF8 (RFC 6531) and the e-mail fields of browsers accept nothing else.
 */
export const EMAIL_ADDRESS =
  /^(?=[^@]{1,64}@)[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]$/;

/**
 * What a domain may contain before it is converted. The conversion itself is that of a URL's host: it ends at a slash
 * and decodes percent signs, so that another domain would come of a text with these.
 */
const DOMAIN = /^(?:[\p{L}\p{M}\p{N}.\-\u3002\uFF0E\uFF61]|\u200C|\u200D){1,253}$/u;

/** Returns the address as stored and compared, or any other text as it is, apart from its case. */
export function canonicalEmail(typed: string): string {
  const text = typed.trim();
  const domainAt = text.lastIndexOf('@') + 1;
  if (domainAt === 0) return inLowerCase(text);
  return inLowerCase(text.slice(0, domainAt)) + canonicalDomain(text.slice(domainAt));
}

/** Returns the domain in A-labels, or any other text as it is, apart from its case. */
export function canonicalDomain(typed: string): string {
  const hasOtherLetters = /\P{ASCII}/u.test(typed);
  return (hasOtherLetters && DOMAIN.test(typed) && domainToASCII(typed)) || inLowerCase(typed);
}

/** Returns a domain in A-labels in the letters of its language. */
export function domainInLetters(domain: string): string {
  return domainToUnicode(domain);
}

/** ASCII letters alone: the lower case of some other letters is ASCII, which would make two addresses equal. */
function inLowerCase(text: string): string {
  return text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
