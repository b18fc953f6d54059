/**
 * Parameters in the form in which the server compares them, however a request writes them: a scope with single spaces,
 * and resources by their registered identifiers. The library reads parameters in many places and takes them from forms,
 * request objects and stored requests, so the values are changed when the library sets them.
 */
import type { Provider } from 'oidc-provider';
import { Refused } from '../../base/refusal.ts';
import { parseJson } from '../../http/json_text.ts';
import { internalsOf } from '../provider/library_types.ts';

/** Returns a resource's identifier as it is registered, for any way to write it; other texts unchanged. */
export type RegisteredIdentifier = (uri: string) => string;

type Normalize = (value: string) => string;
type Parameters = Record<string, unknown>;

/** Call it for each new provider. */
export function normalizeParameters(provider: Provider, registered: RegisteredIdentifier): void {
  const normal: Readonly<Record<string, (value: unknown) => unknown>> = {
    scope: ofText(singleSpaced),
    acr_values: ofText(singleSpaced),
    prompt: ofText(singleSpaced),
    resource: (value) => identifiers(value, registered),
    audience: (value) => identifiers(value, registered),
    authorization_details: ofText((text) => withRegisteredLocations(text, registered)),
  };
  const current = Symbol('params');
  Object.defineProperty(internalsOf(provider).OIDCContext.prototype, 'params', {
    get(this: { [current]?: Parameters }) {
      return this[current];
    },
    set(this: { [current]?: Parameters }, params: Parameters) {
      for (const [name, normalize] of Object.entries(normal)) {
        if (Object.hasOwn(params, name)) watch(params, name, normalize);
      }
      this[current] = params;
    },
  });
}

/** Normalizes the value of the parameter, and each value that it gets later. */
function watch(params: Parameters, name: string, normalize: (value: unknown) => unknown): void {
  let value = normalize(params[name]);
  Object.defineProperty(params, name, {
    enumerable: true,
    configurable: true,
    get: () => value,
    set: (next: unknown) => {
      value = normalize(next);
    },
  });
}

/** A text of spaces alone has no value, and is as good as missing (RFC 6749, 3.1). */
function ofText(normalize: Normalize): (value: unknown) => unknown {
  return (value) => (typeof value === 'string' ? normalize(value) || undefined : value);
}

/** RFC 6749, 3.3, permits one space between two scopes. Some clients build the list from parts that may be empty. */
function singleSpaced(text: string): string {
  return text.replaceAll(/ +/g, ' ').replace(/^ | $/g, '');
}

function identifiers(value: unknown, registered: RegisteredIdentifier): unknown {
  if (typeof value === 'string') return registered(value);
  if (!Array.isArray(value)) return value;
  const all = [...new Set(value.map((one: unknown) => (typeof one === 'string' ? registered(one) : one)))];
  return all.length < value.length && all.length === 1 ? all[0] : all;
}

/** The text is left alone if it is not as it should be, for the checks of authorization details to refuse. */
function withRegisteredLocations(text: string, registered: RegisteredIdentifier): string {
  if (text.length > LONGEST_DETAILS_CHARACTERS || !text.includes('locations')) return text;
  const details = parsed(text);
  if (!Array.isArray(details)) return text;
  let changed = false;
  const normal = details.map((detail: unknown) => {
    if (typeof detail !== 'object' || detail === null || !('locations' in detail)) return detail;
    const { locations } = detail;
    if (!Array.isArray(locations) || !locations.every((one) => typeof one === 'string')) return detail;
    const its = [...new Set(locations.map(registered))];
    if (its.length === locations.length && its.every((one, index) => one === locations[index])) return detail;
    changed = true;
    return { ...detail, locations: its };
  });
  return changed ? JSON.stringify(normal) : text;
}

/** Longer ones are refused (authorization/authorization_details.ts). */
const LONGEST_DETAILS_CHARACTERS = 8_000;

function parsed(text: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return undefined;
  }
}
