/**
 * True for `localhost` and each address of loopback (RFC 6761, 6.3; RFC 8252, 7.3). `hostname` is as in a parsed URL, or
 * an address without brackets.
 */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || hostname === '::1' || /^127(\.\d{1,3}){3}$/.test(hostname);
}
