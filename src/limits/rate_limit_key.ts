/**
 * Whose an address is, for counting: an IPv4 address is one customer's, and of IPv6 the first 64 bits are. The rest is
 * its holder's to choose anew for each request (RFC 4291, 2.5.4), and would make as many strangers of one.
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [written = ''] = address.split('%');
  const [before = '', after] = written.split('::');
  const groups = before.split(':').filter(Boolean);
  const rest = (after ?? '').split(':').filter(Boolean);
  // an IPv4 address at the end stands for two groups
  const zeros = after === undefined ? 0 : 8 - groups.length - rest.length - (written.includes('.') ? 1 : 0);
  const all = [...groups, ...Array<string>(Math.max(0, zeros)).fill('0'), ...rest];
  const first = all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${first.join(':')}::/64`;
}

/**
 * The largest network that one customer usually holds: an IPv4 address, or the first 48 bits of IPv6 (RFC 6177), which
 * are 65,536 networks. For what is shared out for a day; a limit of some minutes would shut out neighbours.
 */
export function siteOf(address: string): string {
  const network = networkOf(address);
  return network.includes(':') ? `${network.split(':').slice(0, 3).join(':')}::/48` : network;
}
