/** The address a request came from: the connection's, or what the proxies that we were told to trust say of it. */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

export type AddressOf = (request: IncomingMessage) => string;

/** `trusted` are addresses and networks, as in `10.0.0.0/8`. A header from anyone else is ignored. */
export function clientAddress(trusted: readonly string[]): AddressOf {
  const proxies = blockList(trusted);
  const isProxy = (address: string): boolean =>
    isIP(address) !== 0 && proxies.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  return (request) => {
    const peer = plain(request.socket.remoteAddress ?? '');
    if (trusted.length === 0 || !isProxy(peer)) return peer;
    // each proxy appends whom it heard from: the last one that is no proxy of ours is the client
    const chain = [request.headers['x-forwarded-for'] ?? '']
      .flat()
      .join(',')
      .split(',')
      .map((hop) => plain(hop.trim()));
    const client = chain.reverse().find((hop) => isIP(hop) !== 0 && !isProxy(hop));
    return client ?? peer;
  };
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits] = network.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list;
}

/** An IPv4 address that came over an IPv6 socket, as IPv4. */
function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}
