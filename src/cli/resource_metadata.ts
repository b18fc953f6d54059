import { CannotStart } from '../base/cannot_start.ts';
import { DPOP_ALGS } from '../base/signing_algs.ts';
import { DpopAtResource, metadataUrl, protectedResourceMetadata } from '../resources/protected_resource_metadata.ts';
import { findResource } from '../resources/resource_rows.ts';
import { withContext } from './command_context.ts';

/** Prints the document alone on standard output, and where it belongs beside it. */
export async function printResourceMetadata(identifier: string, { dpop }: { dpop: string }): Promise<void> {
  const how = DpopAtResource.safeParse(dpop);
  if (!how.success) throw new CannotStart('--dpop must be none, supported or required.');
  const document = await withContext(async ({ config: { issuer }, database }) => {
    const resource = await findResource(database, identifier);
    if (!resource) throw new CannotStart(`There is no resource ${identifier}.`);
    return protectedResourceMetadata(resource, { issuer, dpop: how.data, dpopAlgs: DPOP_ALGS });
  });
  const url = metadataUrl(identifier);
  if (url !== undefined) process.stderr.write(`Host this at ${url}\n`);
  process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
}
