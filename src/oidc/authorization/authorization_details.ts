/**
 * The policy for rich authorization requests (RFC 9396): which details a client may request, what a person's grant
 * covers, and what a token may contain. A detail is accepted only if this server has its type, the client is permitted
 * to use the type and the resource, and a token of the request can contain it. So everything that a person consents to
 * can be used.
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
import { requestedDetails, locationsOf, type Details } from '../request/requested_details.ts';

/** A JWT carries the details in every request to the API. */
const LARGEST_BYTES = 8_000;
const DETAILS_AT_MOST = 20;
const ITEMS_AT_MOST = 100;

/**
 * Routes where a person sees the details, or the client acts for itself. Device and CIBA requests may ask for scopes
 * only.
 */
const ROUTES: ReadonlySet<string> = new Set(['authorization', 'pushed_authorization_request', 'token']);

export class AuthorizationDetailsPolicy {
  readonly #types: AuthorizationDetailsTypes;
  /** How many details of a request have been validated. */
  readonly #seen = new WeakMap<KoaContextWithOIDC, number>();

  constructor(types: AuthorizationDetailsTypes) {
    this.#types = types;
  }

  types(): readonly string[] {
    return this.#types.names();
  }

  /** The library's configuration with the current types; a change of the types builds a new provider. */
  feature(): RichAuthorizationRequestsActiveConfiguration & {
    readonly enabled: true;
    readonly authorizationDetailsForIntrospection: AuthorizationDetailsForIntrospection;
  } {
    const validate = this.#validate.bind(this);
    return {
      enabled: true,
      types: Object.fromEntries(this.#types.names().map((type) => [type, { validate }])),
      authorizationDetailsForGrantSource: (ctx) =>
        this.#permitted(recordOf(ctx.oidc.client!), requestedDetails(ctx) ?? []),
      authorizationDetailsForAccessToken: this.#forAccessToken,
      // the library introspects a token only for its own client; resource servers read the details in the JWT
      authorizationDetailsForIntrospection: (_ctx, token) => token.rar,
    };
  }

  /** For each detail of the request, the resources that it is for; empty if the request has none. */
  resourcesAskedFor(ctx: KoaContextWithOIDC): (readonly string[])[] {
    return (requestedDetails(ctx) ?? []).map((detail) => this.#resourcesOf(detail));
  }

  #validate(ctx: KoaContextWithOIDC, detail: AuthorizationDetail, client: Client): void {
    const index = this.#seen.get(ctx) ?? 0;
    this.#seen.set(ctx, index + 1);
    if (index === 0) demandReadable(ctx);
    const refuse = (reason: string): never => {
      throw new errors.InvalidAuthorizationDetails(shortDescription(`authorization_details[${index}]: ${reason}`));
    };
    const record = recordOf(client);
    const type = this.#types.get(detail.type);
    if (!type) return refuse('unknown type');
    if (!record.metadata.authorization_details_types.includes(detail.type))
      return refuse('the client is not permitted to use this type');
    const objection = type.examine(detail);
    if (objection !== undefined) return refuse(objection);

    const locations = locationsOf(detail);
    if (locations?.length === 0) return refuse('locations must be omitted or name at least one resource');
    if (locations?.some((location) => !type.resources.includes(location)))
      return refuse('locations must name resources of this type');
    const usable = this.#resourcesOf(detail).filter((resource) => mayUse(record, resource));
    if (usable.length === 0 || (locations && usable.length < locations.length))
      return refuse('the client is not permitted to use this resource');
    const named = [ctx.oidc.params?.['resource']].flat().filter((one) => typeof one === 'string');
    if (named.length > 0 && !usable.some((resource) => named.includes(resource)))
      return refuse('no requested resource accepts this type');
  }

  /** A token request may ask for less than was granted, never for more (RFC 9396, 6). */
  #forAccessToken: AuthorizationDetailsForAccessToken = (ctx, token, source, grantType) => {
    const asked = requestedDetails(ctx);
    const granted = grantType === 'client_credentials' ? (asked ?? []) : ((source?.rar ?? []) as Details);
    if (asked && !areWithin(asked, granted))
      throw new errors.InvalidAuthorizationDetails('authorization_details must not exceed the grant');
    const resource = token.resourceServer?.identifier();
    const carried = this.#permitted(recordOf(ctx.oidc.client!), asked ?? granted)
      .filter((detail) => resource !== undefined && this.#resourcesOf(detail).includes(resource))
      // the API does not learn which other resources the detail names
      .map((detail) => (locationsOf(detail) ? { ...detail, locations: [resource!] } : detail));
    if (asked && carried.length < asked.length)
      throw new errors.InvalidAuthorizationDetails('authorization_details must all be for the resource of the token');
    return carried;
  };

  /** Only details that the client is still permitted to request and whose type still exists. */
  #permitted({ metadata }: ClientWithSecrets, details: Details): Details {
    return details.filter(({ type }) => metadata.authorization_details_types.includes(type) && this.#types.get(type));
  }

  #resourcesOf(detail: AuthorizationDetail): readonly string[] {
    const all = this.#types.get(detail.type)?.resources ?? [];
    const locations = locationsOf(detail);
    return locations ? all.filter((resource) => locations.includes(resource)) : all;
  }
}

/**
 * Refuses what the library's parser accepts but this server doesn't: wrong endpoints, large values, and JSON that two
 * parsers may read differently.
 */
function demandReadable({ oidc }: KoaContextWithOIDC): void {
  const refuse = (reason: string): never => {
    throw new errors.InvalidAuthorizationDetails(shortDescription(`authorization_details: ${reason}`));
  };
  const given = String(oidc.params?.['authorization_details']);
  if (!ROUTES.has(oidc.route)) refuse('not supported at this endpoint');
  if (Buffer.byteLength(given) > LARGEST_BYTES) refuse(`must not be larger than ${LARGEST_BYTES} bytes`);
  try {
    const details = parseJson(given) as Details;
    if (details.length > DETAILS_AT_MOST) refuse(`must not have more than ${DETAILS_AT_MOST} elements`);
    if (hasLongArray(details)) refuse(`no array in it may have more than ${ITEMS_AT_MOST} elements`);
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

function mayUse({ metadata }: ClientWithSecrets, identifier: string): boolean {
  return metadata.resources.some(({ resource }) => resource === identifier);
}

/** Limits a text that repeats names of a type's schema. */
function shortDescription(text: string): string {
  return text.slice(0, 300);
}
