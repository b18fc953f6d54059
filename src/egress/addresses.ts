/**
 * Refuses IP addresses that are not clearly on the public internet, so that a client can't make this server connect to
 * them.
 */
import type { LookupAddress } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import type { Destination } from './destination.ts';
import { EgressFailed } from './failure.ts';

/** IANA's special-purpose IPv4 registry, multicast, and Azure's host agent, which has a public address. */
const SPECIAL_IPV4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '168.63.129.16/32',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];

/**
 * Global unicast is 2000::/3. The first three networks contain all other addresses: loopback, mapped, compatible and
 * translated IPv4, unique local, link-local, multicast. The others are special networks within 2000::/3: IETF protocols
 * (with Teredo and benchmarking), two for documentation, 6to4, AS112.
 */
const SPECIAL_IPV6 = [
  '::/3',
  '4000::/2',
  '8000::/1',
  '2001::/23',
  '2001:db8::/32',
  '3fff::/20',
  '2002::/16',
  '2620:4f:8000::/48',
];

/** Returns true if the server must not connect to the address, which is given as text. */
export type RefusesAddress = (address: string) => boolean;

// one list for each family: a common list compares IPv4 addresses with IPv6 networks by their mapped form
const special = { ipv4: listOf(SPECIAL_IPV4, 'ipv4'), ipv6: listOf(SPECIAL_IPV6, 'ipv6') };

export const isSpecialAddress: RefusesAddress = (address) => {
  const family = isIP(address);
  // a zone (fe80::1%eth0) names an interface of this machine
  if (family === 0 || address.includes('%')) return true;
  const name = family === 4 ? 'ipv4' : 'ipv6';
  return special[name].check(address, name);
};

/** `dns.promises.lookup`, or its replacement in a test. */
export type Resolve = (hostname: string, options: { readonly all: true }) => Promise<LookupAddress[]>;

/**
 * Resolves a name once and checks all its addresses. One refused address refuses the name, because it shows that the
 * owner of the name wants to reach it. Origins that the operator allows are not checked. Throws `EgressFailed`.
 */
export async function checkedAddresses(
  { hostname, host, allowed }: Destination,
  resolve: Resolve,
  refuses: RefusesAddress,
): Promise<LookupAddress[]> {
  const literal = isIP(hostname);
  const addresses = literal ? [{ address: hostname, family: literal }] : await lookUp(hostname, host, resolve);
  const refused = allowed ? undefined : addresses.find(({ address }) => refuses(address));
  if (refused) throw new EgressFailed({ reason: 'address_refused', host, address: refused.address });
  return addresses;
}

async function lookUp(hostname: string, host: string, resolve: Resolve): Promise<LookupAddress[]> {
  const unknown = (errorCode: string, cause?: unknown) =>
    new EgressFailed({ reason: 'name_unknown', host, errorCode }, { cause });
  const addresses = await resolve(hostname, { all: true }).catch((error: NodeJS.ErrnoException) => {
    throw unknown(error.code ?? error.name, error);
  });
  if (addresses.length === 0) throw unknown('ENODATA');
  return addresses;
}

function listOf(networks: readonly string[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits] = network.split('/');
    list.addSubnet(address, Number(bits), family);
  }
  return list;
}
