/**
 * Rich authorization requests (RFC 9396) as policy: who may ask for what, what a person's grant covers, and what a
 * token may carry. A detail is taken only where a type of ours describes it, the client has been given that type and
 * the resource, and a token of the request can carry it: whatever a person agrees to can then be used.
 */
import {
  errors,
  type AuthorizationDetail,
  type AuthorizationDetailsForAccessToken,
  type AuthorizationDetailsForIntrospection,
  type Client,
  type KoaContextWithOIDC,
  type RichAuthorizationRequestsActiveConfiguration,
} from 'oidc-provider';
import { Refused } from '../../base/refusal.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { parseJson } from '../../http/json_text.ts';
import type { AuthorizationDetailsTypes } from '../../resources/details_type_directory.ts';
import { areWithin } from './narrower_details.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { askedFor, locationsOf, type Details } from '../request/requested_details.ts';

/** In a JWT they go with every request to the API. */
const LARGEST_BYTES = 8_000;
const DETAILS_AT_MOST = 20;
const ITEMS_AT_MOST = 100;

/** Where people see what they allow, or the client speaks for itself. Devices and CIBA are asked for scopes alone. */
const ROUTES: ReadonlySet<string> = new Set(['authorization', 'pushed_authorization_request', 'token']);

export class AuthorizationDetailsPolicy {
  readonly #types: AuthorizationDetailsTypes;
  /** How many of a request's details have been looked at. */
  readonly #seen = new WeakMap<KoaContextWithOIDC, number>();

  constructor(types: AuthorizationDetailsTypes) {
    this.#types = types;
  }

  types(): readonly string[] {
    return this.#types.names();
  }

  /** The types of this moment: when they change, a new provider is built. */
  feature(): RichAuthorizationRequestsActiveConfiguration & {
    readonly enabled: true;
    readonly authorizationDetailsForIntrospection: AuthorizationDetailsForIntrospection;
  } {
    const validate = this.#validate.bind(this);
    return {
      enabled: true,
      types: Object.fromEntries(this.#types.names().map((type) => [type, { validate }])),
      authorizationDetailsForGrantSource: (ctx) => this.#living(recordOf(ctx.oidc.client!), askedFor(ctx) ?? []),
      authorizationDetailsForAccessToken: this.#forAccessToken,
      // the library lets nobody see a token but its client; what is for a resource server is in the token itself
      authorizationDetailsForIntrospection: (_ctx, token) => token.rar,
    };
  }

  /** For each detail of the request the resources that it is for; nothing where none is asked for. */
  resourcesAskedFor(ctx: KoaContextWithOIDC): (readonly string[])[] {
    return (askedFor(ctx) ?? []).map((detail) => this.#resourcesOf(detail));
  }

  #validate(ctx: KoaContextWithOIDC, detail: AuthorizationDetail, client: Client): void {
    const index = this.#seen.get(ctx) ?? 0;
    this.#seen.set(ctx, index + 1);
    if (index === 0) demandReadable(ctx);
    const refuse = (reason: string): never => {
      throw new errors.InvalidAuthorizationDetails(inPrint(`authorization_details[${index}]: ${reason}`));
    };
    const record = recordOf(client);
    const type = this.#types.get(detail.type);
    if (!type) return refuse('the type is not known here');
    if (!record.metadata.authorization_details_types.includes(detail.type))
      return refuse('the client has not been given the type');
    const objection = type.examine(detail);
    if (objection !== undefined) return refuse(objection);

    const locations = locationsOf(detail);
    if (locations?.length === 0) return refuse('locations must name at least one resource, or be left out');
    if (locations?.some((location) => !type.resources.includes(location)))
      return refuse('locations must name resources that the type is for');
    const its = this.#resourcesOf(detail).filter((resource) => has(record, resource));
    if (its.length === 0 || (locations && its.length < locations.length))
      return refuse('the client has not been given the resource');
    const named = [ctx.oidc.params?.['resource']].flat().filter((one) => typeof one === 'string');
    if (named.length > 0 && !its.some((resource) => named.includes(resource)))
      return refuse('no resource that is asked for takes it');
  }

  /** What is asked for at the token endpoint may be less than was granted, never more (6). */
  #forAccessToken: AuthorizationDetailsForAccessToken = (ctx, token, source, grantType) => {
    const asked = askedFor(ctx);
    const granted = grantType === 'client_credentials' ? (asked ?? []) : ((source?.rar ?? []) as Details);
    if (asked && !areWithin(asked, granted))
      throw new errors.InvalidAuthorizationDetails('authorization_details: more than was granted');
    const resource = token.resourceServer?.identifier();
    const carried = this.#living(recordOf(ctx.oidc.client!), asked ?? granted)
      .filter((detail) => resource !== undefined && this.#resourcesOf(detail).includes(resource))
      // an API is told nothing of the others
      .map((detail) => (locationsOf(detail) ? { ...detail, locations: [resource!] } : detail));
    if (asked && carried.length < asked.length)
      throw new errors.InvalidAuthorizationDetails(
        'authorization_details: not all of it is for the resource of the token',
      );
    return carried;
  };

  /** Without what an admin has taken away since. */
  #living({ metadata }: ClientWithSecrets, details: Details): Details {
    return details.filter(({ type }) => metadata.authorization_details_types.includes(type) && this.#types.get(type));
  }

  #resourcesOf(detail: AuthorizationDetail): readonly string[] {
    const all = this.#types.get(detail.type)?.resources ?? [];
    const locations = locationsOf(detail);
    return locations ? all.filter((resource) => locations.includes(resource)) : all;
  }
}

/** What the library's reader takes as well, and what no two readers may read in two ways. */
function demandReadable({ oidc }: KoaContextWithOIDC): void {
  const refuse = (reason: string): never => {
    throw new errors.InvalidAuthorizationDetails(inPrint(`authorization_details: ${reason}`));
  };
  const given = String(oidc.params?.['authorization_details']);
  if (!ROUTES.has(oidc.route)) refuse('not taken at this endpoint');
  if (Buffer.byteLength(given) > LARGEST_BYTES) refuse(`must not be larger than ${LARGEST_BYTES} bytes`);
  try {
    const details = parseJson(given) as Details;
    if (details.length > DETAILS_AT_MOST) refuse(`must not hold more than ${DETAILS_AT_MOST}`);
    if (hasLongArray(details)) refuse(`no array in it may hold more than ${ITEMS_AT_MOST}`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const { refusal } = error;
    refuse(refusal.reason === 'invalid' ? (refusal.violations[0]?.detail ?? 'is not JSON') : 'is not JSON');
  }
}

function hasLongArray(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value) && value.length > ITEMS_AT_MOST) return true;
  return Object.values(value).some(hasLongArray);
}

function has({ metadata }: ClientWithSecrets, identifier: string): boolean {
  return metadata.resources.some(({ resource }) => resource === identifier);
}

/** The characters that an error_description may have (RFC 6749, 5.2). */
function inPrint(text: string): string {
  return text
    .replaceAll('"', "'")
    .replaceAll(/[^\x20\x21\x23-\x5B\x5D-\x7E]/g, '?')
    .slice(0, 300);
}
