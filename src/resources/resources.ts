/**
 * Resources are the APIs for which this server issues access tokens (RFC 8707). Each has its scopes and its types of
 * authorization details (RFC 9396). This folder keeps all of them in memory.
 */
import type { Database } from '../db/connection.ts';
import type { Feature } from '../lifecycle/feature.ts';
import { AuthorizationDetailsTypes } from './details_type_directory.ts';
import { ResourceDirectory } from './resource_directory.ts';

export interface Resources {
  readonly resources: ResourceDirectory;
  readonly detailsTypes: AuthorizationDetailsTypes;
  readonly feature: Feature;
}

export function createResources(database: Database): Resources {
  const resources = new ResourceDirectory(database);
  const detailsTypes = new AuthorizationDetailsTypes(database);
  const feature: Feature = {
    caches: [
      { topic: 'resource', onChange: () => resources.load(), load: () => resources.load() },
      { topic: 'authorization_details_type', onChange: () => detailsTypes.load(), load: () => detailsTypes.load() },
    ],
  };
  return { resources, detailsTypes, feature };
}
