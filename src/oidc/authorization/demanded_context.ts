/**
 * The authentication contexts that an authorization request needs: what the request asks for with `acr_values` or the
 * `acr` claim (OpenID Connect Core, 3.1.2.1 and 5.5.1.1), and what an admin requires of each login for the client, for
 * one of the resources, or at this server.
 */
import { z } from 'zod';
import { satisfies } from '../../accounts/authentication_context.ts';
import type { RequirableAcr } from '../../base/acr_values.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import type { ResourceDirectory } from '../../resources/resource_directory.ts';
import { idTokenClaims } from './claims.ts';

export interface DemandedContext {
  /** The values that the request asks for, in the order of its preference; any of them is enough. */
  readonly values: readonly string[];
  /** Whether the request fails without one of them. */
  readonly essential: boolean;
  /** The context that an admin requires; without it the request fails. */
  readonly required: string | undefined;
}

type Parameters = Readonly<Record<string, unknown>>;

export class DemandedContexts {
  readonly #resources: ResourceDirectory;
  readonly #requiredAcr: RequirableAcr | undefined;

  constructor(resources: ResourceDirectory, requiredAcr: RequirableAcr | undefined) {
    this.#resources = resources;
    this.#requiredAcr = requiredAcr;
  }

  /** `client`: `undefined` for a login to the server's own pages. */
  of(client: Pick<ClientMetadata, 'required_acr'> | undefined, parameters: Parameters): DemandedContext {
    return { ...requestedContexts(parameters), required: this.required(client, resourcesOf(parameters)) };
  }

  /** The context that an admin requires of a login with which a person gives the client access to these resources. */
  required(client: Pick<ClientMetadata, 'required_acr'> | undefined, resources: readonly string[]): string | undefined {
    const ofResources = resources.map((resource) => this.#resources.get(resource)?.requiredAcr ?? undefined);
    const all = [this.#requiredAcr, client?.required_acr, ...ofResources].filter((acr) => acr !== undefined);
    return all.reduce<string | undefined>(
      (strongest, acr) => (strongest !== undefined && satisfies(strongest, acr) ? strongest : acr),
      undefined,
    );
  }
}

/** Whether a login with the context `acr` is enough for the request. */
export function meets(acr: string | undefined, { values, required }: DemandedContext): boolean {
  return (
    (required === undefined || satisfies(acr, required)) &&
    (values.length === 0 || values.some((value) => satisfies(acr, value)))
  );
}

/** The name of the login's context in the tokens of a request: the requested value that it satisfies, or its own. */
export function nameOfContext(acr: string | undefined, parameters: Parameters): string | undefined {
  return requestedContexts(parameters).values.find((value) => satisfies(acr, value)) ?? acr;
}

const AcrRequest = z.object({
  essential: z.boolean().default(false),
  value: z.unknown().optional(),
  values: z.array(z.unknown()).optional(),
});

/**
 * The requested acr values. An essential claim takes precedence over `acr_values`, so that a request with both gets the
 * stronger one.
 */
function requestedContexts({ claims, acr_values }: Parameters): Omit<DemandedContext, 'required'> {
  const asked = AcrRequest.safeParse(idTokenClaims(claims)?.['acr']).data;
  const values = (asked?.values ?? [asked?.value]).filter((value) => typeof value === 'string');
  if (asked && values.length > 0) return { values, essential: asked.essential };
  const voluntary = typeof acr_values === 'string' ? acr_values.split(' ').filter(Boolean) : [];
  return { values: voluntary, essential: false };
}

function resourcesOf({ resource }: Parameters): string[] {
  return [resource].flat().filter((one) => typeof one === 'string');
}
