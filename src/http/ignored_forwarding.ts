/** Logs that a forwarding header was ignored, and which setting changes that. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../log.ts';
import type { IgnoredHeader } from './client_address.ts';

/** Limits the log lines, because any client can send such a header with each request. */
const REPORT_INTERVAL_MILLISECONDS = 3_600_000;

/** Returns a reporter that writes at most one line an hour. */
export function reportIgnoredHeaders(log: Logger, clock: Clock): (ignored: IgnoredHeader) => void {
  let reportedAt = -Infinity;
  return ({ peer, header, isProxy }) => {
    const now = clock().getTime();
    if (now - reportedAt < REPORT_INTERVAL_MILLISECONDS) return;
    reportedAt = now;
    const advice = isProxy
      ? 'Configure this proxy to send X-Forwarded-For: until then all clients behind it count as one address.'
      : 'If this address is your proxy, add it to GATEHOUSE_TRUSTED_PROXIES: until then all clients behind it count as one address.';
    log.warn({ peer, header, change: advice }, 'address.header_ignored');
  };
}
