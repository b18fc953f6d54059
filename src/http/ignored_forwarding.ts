/** Says in the log that a proxy's word about addresses is not believed, and which setting changes that. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../log.ts';
import type { IgnoredHeader } from './client_address.ts';

/** Any client may send such a header with each request. */
const SAID_EVERY_MILLISECONDS = 3_600_000;

/** At most one line an hour. */
export function reportIgnoredHeaders(log: Logger, clock: Clock): (ignored: IgnoredHeader) => void {
  let saidAt = -Infinity;
  return ({ peer, header, isProxy }) => {
    const now = clock().getTime();
    if (now - saidAt < SAID_EVERY_MILLISECONDS) return;
    saidAt = now;
    const change = isProxy
      ? 'Have this proxy send X-Forwarded-For: until then all people behind it count as one address.'
      : 'If this address is your proxy, name it in GATEHOUSE_TRUSTED_PROXIES: until then all people behind it count as one address.';
    log.warn({ peer, header, change }, 'address.header_ignored');
  };
}
