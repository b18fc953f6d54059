import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';

/** One line that names the variables which a platform made, so that the operator knows that they are no settings. */
export function noteServiceLinks({ serviceLinks }: Config, log: Logger): void {
  if (serviceLinks.length === 0) return;
  log.warn(
    { variables: serviceLinks },
    'Variables that Kubernetes or Docker made for links to services are passed by. Set enableServiceLinks: false in the pod to have none.',
  );
}
