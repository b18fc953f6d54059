/**
 * Detects variables that Kubernetes and Docker make for links to services. A Service `gatehouse` sets
 * `GATEHOUSE_SERVICE_HOST`, `GATEHOUSE_PORT=tcp://…` and more in each pod of its namespace; a Service `gatehouse-admin`
 * even sets `GATEHOUSE_ADMIN_PORT`. The operator did not write them, so they are not settings.
 */
import { isIP } from 'node:net';
import type { Variables } from './cross_checks.ts';

const ADDRESS_AND_PORT = /^(tcp|udp|sctp):\/\/.+:\d+$/;
const NUMBER = /^\d+$/;
/** Docker names a link by both containers: `/this-one/alias`. */
const CONTAINER = /^\/[^/]+\/[^/]+$/;

/** The patterns of names, each with the format of its value. Any other value is a mistake of the operator. */
const LINKS: readonly (readonly [name: RegExp, fits: (value: string) => boolean])[] = [
  [/_SERVICE_HOST$/, (value) => isIP(value) !== 0],
  [/_SERVICE_PORT(_\w+)?$/, (value) => NUMBER.test(value)],
  [/(^|_)PORT$/, (value) => ADDRESS_AND_PORT.test(value)],
  [/_PORT_\d+_(TCP|UDP|SCTP)(_START|_END)?$/, (value) => ADDRESS_AND_PORT.test(value)],
  [/_PORT_\d+_(TCP|UDP|SCTP)_ADDR$/, (value) => isIP(value) !== 0],
  [/_PORT_\d+_(TCP|UDP|SCTP)_PORT(_START|_END)?$/, (value) => NUMBER.test(value)],
  [/_PORT_\d+_(TCP|UDP|SCTP)_PROTO$/, (value) => /^(tcp|udp|sctp)$/.test(value)],
  [/_NAME$/, (value) => CONTAINER.test(value)],
];

/** Separates variables of the platform from settings of the operator. `links` holds only names. */
export function separateServiceLinks(given: Variables): { readonly own: Variables; readonly links: readonly string[] } {
  const links = Object.keys(given).filter((name) => concernsUs(name) && isServiceLink(name, given));
  return { own: Object.fromEntries(Object.entries(given).filter(([name]) => !links.includes(name))), links };
}

function concernsUs(name: string): boolean {
  return name === 'PORT' || name.startsWith('GATEHOUSE_');
}

function isServiceLink(name: string, given: Variables): boolean {
  const value = given[name] ?? '';
  if (LINKS.some(([pattern, fits]) => pattern.test(name) && fits(value))) return true;
  // Docker also passes the environment of a linked container, under the link's name and with any value
  return [...name.matchAll(/_ENV_/g)].some(({ index }) => CONTAINER.test(given[`${name.slice(0, index)}_NAME`] ?? ''));
}
