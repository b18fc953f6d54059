import { CannotStart } from '../base/cannot_start.ts';
import { DPOP_ALGS } from '../base/signing_algs.ts';
import { DpopAtResource, metadataUrl, protectedResourceMetadata } from '../resources/protected_resource_metadata.ts';
import { findResource } from '../resources/resource_rows.ts';
import { withContext } from './command_context.ts';

/** Prints the document on standard output, and its URL on standard error. */
export async function printResourceMetadata(identifier: string, { dpop }: { dpop: string }): Promise<void> {
  const parsed = DpopAtResource.safeParse(dpop);
  if (!parsed.success) throw new CannotStart('--dpop must be none, supported or required.');
  const document = await withContext(async ({ config: { issuer }, database }) => {
    const resource = await findResource(database, identifier);
    if (!resource) throw new CannotStart(`Resource ${identifier} not found.`);
    return protectedResourceMetadata(resource, { issuer, dpop: parsed.data, dpopAlgs: DPOP_ALGS });
  });
  const url = metadataUrl(document.resource);
  if (url !== undefined) process.stderr.write(`Publish this at ${url}\n`);
  process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
}
