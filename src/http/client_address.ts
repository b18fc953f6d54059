/** The address a request came from: the connection's, or what the proxies that we were told to trust say of it. */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

export type AddressOf = (request: IncomingMessage) => string;

/** A header that says where a request came from, and was not believed. */
export interface IgnoredHeader {
  /** The address of the connection. */
  readonly peer: string;
  readonly header: 'X-Forwarded-For' | 'Forwarded';
  /** Whether the peer is a trusted proxy: it then sent `Forwarded`, which is never read. */
  readonly isProxy: boolean;
}

/**
 * `trusted` are addresses and networks, as in `10.0.0.0/8`. A header from anyone else is ignored, which `onIgnored`
 * hears of.
 */
export function clientAddress(trusted: readonly string[], onIgnored?: (ignored: IgnoredHeader) => void): AddressOf {
  const isProxy = among(trusted);
  return (request) => {
    const peer = plain(request.socket.remoteAddress ?? '');
    const known = trusted.length > 0 && isProxy(peer);
    const { 'x-forwarded-for': forwardedFor, forwarded } = request.headers;
    if (!known && forwardedFor !== undefined) onIgnored?.({ peer, header: 'X-Forwarded-For', isProxy: false });
    else if (forwardedFor === undefined && forwarded !== undefined)
      onIgnored?.({ peer, header: 'Forwarded', isProxy: known });
    if (!known) return peer;
    // each proxy appends whom it heard from: the last one that is no proxy of ours is the client
    const chain = [forwardedFor ?? '']
      .flat()
      .join(',')
      .split(',')
      .map((hop) => plain(withoutPort(hop.trim())));
    const client = chain.reverse().find((hop) => !isProxy(hop));
    // what is not an address hides who was there; what stands before it is only what somebody said
    return client !== undefined && isIP(client) !== 0 ? client : peer;
  };
}

/** Whether one of the proxies that we were told to trust has sent a request. */
export function isFromProxy(trusted: readonly string[]): (request: IncomingMessage) => boolean {
  const isProxy = among(trusted);
  return (request) => isProxy(plain(request.socket.remoteAddress ?? ''));
}

function among(networks: readonly string[]): (address: string) => boolean {
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

/** Some proxies write down the port, too: `203.0.113.7:54321`, `[2001:db8::7]:54321`. */
function withoutPort(hop: string): string {
  return hop.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1').replace(/^\[([^\]]*)\](?::\d+)?$/, '$1');
}

/** An IPv4 address that came over an IPv6 socket, as IPv4. */
function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}
