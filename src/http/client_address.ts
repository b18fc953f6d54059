/** Determines the client's IP address: the peer of the connection, or the address that a trusted proxy forwards. */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

export type AddressOf = (request: IncomingMessage) => string;

/** A forwarding header that this server ignored. */
export interface IgnoredHeader {
  /** The address of the connection. */
  readonly peer: string;
  readonly header: 'X-Forwarded-For' | 'Forwarded';
  /** Whether the peer is a trusted proxy. It then sent `Forwarded`, which this server never reads. */
  readonly isProxy: boolean;
}

/**
 * Returns the function that finds the address. `trusted` are addresses and networks of proxies, such as `10.0.0.0/8`;
 * headers from other peers are ignored and reported to `onIgnored`.
 */
export function clientAddress(trusted: readonly string[], onIgnored?: (ignored: IgnoredHeader) => void): AddressOf {
  const isProxy = matcher(trusted);
  return (request) => {
    const peer = toIpv4(request.socket.remoteAddress ?? '');
    const known = trusted.length > 0 && isProxy(peer);
    const { 'x-forwarded-for': forwardedFor, forwarded } = request.headers;
    if (!known && forwardedFor !== undefined) onIgnored?.({ peer, header: 'X-Forwarded-For', isProxy: false });
    else if (forwardedFor === undefined && forwarded !== undefined)
      onIgnored?.({ peer, header: 'Forwarded', isProxy: known });
    if (!known) return peer;
    // each proxy appends the address of its peer: the last address that is not a trusted proxy is the client
    const chain = [forwardedFor ?? '']
      .flat()
      .join(',')
      .split(',')
      .map((hop) => toIpv4(withoutPort(hop.trim())));
    const client = chain.reverse().find((hop) => !isProxy(hop));
    // if that entry is not an address, the client is unknown: earlier entries are unverified
    return client !== undefined && isIP(client) !== 0 ? client : peer;
  };
}

/** Returns a function that tells whether a request comes directly from a trusted proxy. */
export function isFromTrustedProxy(trusted: readonly string[]): (request: IncomingMessage) => boolean {
  const isProxy = matcher(trusted);
  return (request) => isProxy(toIpv4(request.socket.remoteAddress ?? ''));
}

function matcher(networks: readonly string[]): (address: string) => boolean {
  const list = blockList(networks);
  return (address) => isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
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

/** Some proxies append the port: `203.0.113.7:54321`, `[2001:db8::7]:54321`. */
function withoutPort(hop: string): string {
  return hop.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1').replace(/^\[([^\]]*)\](?::\d+)?$/, '$1');
}

/** Converts an IPv4-mapped IPv6 address to IPv4. */
function toIpv4(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}
