/** Parses and checks the text of a URL that a client supplied. */
import { isIP } from 'node:net';
import { EgressFailed } from './failure.ts';

export interface Destination {
  readonly url: URL;
  /** The host, with the port if it is not the default; for the log and for counting. */
  readonly host: string;
  /** A host name, or an IP address without brackets. */
  readonly hostname: string;
  /** Whether the operator allows exactly this scheme, host and port. */
  readonly allowed: boolean;
}

export interface Rules {
  /** Origins (`https://keys.internal.example:8443`) that are allowed at any address. */
  readonly allow: readonly string[];
  readonly ports: readonly number[];
}

const URL_CHARACTERS_AT_MOST = 2_048;
/** At least two non-empty labels, because the resolver appends the machine's search domains to a single label. */
const PUBLIC_NAME = /^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/;
/** Names that no public server has (RFC 6761, 6762, 7686, 8375, and ICANN's `internal`). */
const LOCAL_NAME = /(^|\.)(localhost|localdomain|local|internal|home\.arpa|onion)$/;

/**
 * Parses the URL by the WHATWG standard, which converts each spelling of an IPv4 address (decimal, octal, hex, short)
 * to the dotted one. Throws `EgressFailed` unless it is https on an allowed port of a public host, or the operator
 * allows its origin.
 */
export function destinationOf(text: string, { allow, ports }: Rules): Destination {
  const url = text.length <= URL_CHARACTERS_AT_MOST ? URL.parse(text) : null;
  if (!url) throw new EgressFailed({ reason: 'url_invalid', host: '' });
  const { host, hostname } = url;
  const refuse = (reason: 'scheme_refused' | 'userinfo_refused' | 'port_refused' | 'name_refused'): never => {
    throw new EgressFailed({ reason, host });
  };
  if (url.username || url.password) refuse('userinfo_refused');
  const bare = hostname.replace(/^\[|\]$/g, '');
  if (allow.includes(url.origin)) return { url, host, hostname: bare, allowed: true };
  if (url.protocol !== 'https:') refuse('scheme_refused');
  if (!ports.includes(Number(url.port || 443))) refuse('port_refused');
  if (isIP(bare) === 0 && (!PUBLIC_NAME.test(bare) || LOCAL_NAME.test(bare))) refuse('name_refused');
  return { url, host, hostname: bare, allowed: false };
}
