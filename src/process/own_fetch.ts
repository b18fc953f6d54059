/**
 * Restricts the global `fetch` of a process to this server itself, for the trial login. Requests to addresses that
 * others chose go through src/egress, which does not use it; a library that fetches by itself is refused.
 */
export function restrictFetch(issuer: string): void {
  const { origin } = new URL(issuer);
  const unrestricted = globalThis.fetch;
  globalThis.fetch = async (input, options) => {
    const request = new Request(input, options);
    if (new URL(request.url).origin !== origin)
      throw new TypeError('Only src/egress sends requests to other servers than this one.');
    // a redirect could lead elsewhere
    return unrestricted(request, request.redirect === 'follow' ? { redirect: 'error' } : {});
  };
}
