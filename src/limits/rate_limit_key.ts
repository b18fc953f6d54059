/**
 * The network of one customer, for counting: an IPv4 address, or the first 64 bits of an IPv6 address. The holder can
 * choose the other bits anew for each request (RFC 4291, section 2.5.4).
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [written = ''] = address.split('%');
  const [before = '', after] = written.split('::');
  const groups = before.split(':').filter(Boolean);
  const rest = (after ?? '').split(':').filter(Boolean);
  // a final IPv4 address takes the place of two groups
  const zeros = after === undefined ? 0 : 8 - groups.length - rest.length - (written.includes('.') ? 1 : 0);
  const all = [...groups, ...Array<string>(Math.max(0, zeros)).fill('0'), ...rest];
  const first = all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${first.join(':')}::/64`;
}

/**
 * The largest network that one customer usually has: an IPv4 address, or the first 48 bits of IPv6 (RFC 6177), which
 * are 65,536 networks. For daily limits only; a limit of some minutes would affect neighbours.
 */
export function siteOf(address: string): string {
  const network = networkOf(address);
  return network.includes(':') ? `${network.split(':').slice(0, 3).join(':')}::/48` : network;
}
