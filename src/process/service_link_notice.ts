/** Warns about variables that are not settings. */
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';

/** Logs the names of variables that the platform made, so that the operator knows that they are not settings. */
export function noteServiceLinks({ serviceLinks }: Config, log: Logger): void {
  if (serviceLinks.length === 0) return;
  log.warn(
    { variables: serviceLinks },
    'Variables that Kubernetes or Docker made for links to services are ignored. Set enableServiceLinks: false in the pod to remove them.',
  );
}
