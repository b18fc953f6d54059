/**
 * The authentication contexts that an authorization request needs: what the request asks for with `acr_values` or the
 * `acr` claim (OpenID Connect Core, 3.1.2.1 and 5.5.1.1), and what an admin requires of each login for the client, for
 * one of the resources, for one of the person's groups, or at this server.
 */
import { z } from 'zod';
import { acrOf, satisfies } from '../../accounts/authentication_context.ts';
import type { RequirableAcr } from '../../base/acr_values.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import type { ResourceDirectory } from '../../resources/resource_directory.ts';
import type { Memberships } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
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

/** A login, as far as an admin may require a context of it. */
export interface LoginSubject {
  /** `undefined` for a login to the server's own pages. */
  readonly client: Pick<ClientMetadata, 'required_acr'> | undefined;
  /** The groups of the person. */
  readonly memberships: Memberships;
  /** The resources that the client gets access to. */
  readonly resources: readonly string[];
}

export interface DemandedContextsSettings {
  readonly resources: ResourceDirectory;
  readonly roles: RoleDirectory;
  /** The context that each login at this server needs. */
  readonly requiredAcr: RequirableAcr | undefined;
}

export class DemandedContexts {
  readonly #settings: DemandedContextsSettings;

  constructor(settings: DemandedContextsSettings) {
    this.#settings = settings;
  }

  of(subject: Omit<LoginSubject, 'resources'>, parameters: Parameters): DemandedContext {
    const required = this.required({ ...subject, resources: resourcesOf(parameters) });
    return { ...requestedContexts(parameters), required };
  }

  /** The strongest context that an admin requires of the login. */
  required({ client, memberships, resources }: LoginSubject): RequirableAcr | undefined {
    const { resources: directory, roles, requiredAcr } = this.#settings;
    let strongest = stronger(requiredAcr, client?.required_acr);
    for (const resource of resources) strongest = stronger(strongest, directory.get(resource)?.requiredAcr);
    for (const acr of roles.requiredAcrs(memberships)) strongest = stronger(strongest, acr);
    return strongest;
  }

  /**
   * The strongest context that an admin requires of logins of this person in particular: of each login, or for a resource
   * of which the person has a scope through a role.
   */
  requiredOf(memberships: Memberships): RequirableAcr | undefined {
    const resources = this.#settings.roles.resourcesOf(memberships);
    return this.required({ client: undefined, memberships, resources });
  }

  /**
   * Whether a login with these methods (`amr`) is as strong as an admin requires by now. `acr` does not say it: it may
   * name a weaker context that the request asked for.
   */
  areSatisfied(amr: readonly string[] | undefined, subject: LoginSubject): boolean {
    const required = this.required(subject);
    return required === undefined || satisfies(acrOf(amr ?? []), required);
  }
}

function stronger(one: RequirableAcr | undefined, other: RequirableAcr | null | undefined): RequirableAcr | undefined {
  if (other === undefined || other === null) return one;
  return one !== undefined && satisfies(one, other) ? one : other;
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

export function resourcesOf({ resource }: Parameters): string[] {
  return [resource].flat().filter((one) => typeof one === 'string');
}
