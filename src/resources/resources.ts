/**
 * Resources are the APIs for which this server issues access tokens (RFC 8707). Each has its scopes and its types of
 * authorization details (RFC 9396). This folder keeps all of them in memory.
 */
import type { Feature } from '../lifecycle/feature.ts';
import { AuthorizationDetailsTypes } from './details_type_directory.ts';
import { endRights, forgetEndedNames, type EndedRightsSettings } from './ended_rights.ts';
import { ResourceDirectory } from './resource_directory.ts';

const ENDING_EVERY_MILLISECONDS = 30_000;
const ENDING_MILLISECONDS = 60_000;

export interface Resources {
  readonly resources: ResourceDirectory;
  readonly detailsTypes: AuthorizationDetailsTypes;
  readonly feature: Feature;
}

export function createResources({ database, trail }: EndedRightsSettings): Resources {
  const resources = new ResourceDirectory(database);
  const detailsTypes = new AuthorizationDetailsTypes(database);
  const feature: Feature = {
    caches: [
      { topic: 'resource', onChange: () => resources.load(), load: () => resources.load() },
      { topic: 'authorization_details_type', onChange: () => detailsTypes.load(), load: () => detailsTypes.load() },
    ],
    jobs: [
      {
        name: 'rights_of_deleted_resources',
        everyMilliseconds: ENDING_EVERY_MILLISECONDS,
        oncePerNode: true,
        run: async (signal) => {
          await endRights({ database, trail }, { signal, milliseconds: ENDING_MILLISECONDS });
          await forgetEndedNames(database);
        },
      },
    ],
  };
  return { resources, detailsTypes, feature };
}
