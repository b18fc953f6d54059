/** Registration in the server's metadata, according to the current policies. */
import type { Middleware } from 'koa';
import type { PolicyDirectory } from './policy_directory.ts';
import { REGISTRATION_PATH } from './client_information.ts';

const DOCUMENTS = new Set(['/.well-known/openid-configuration', '/.well-known/oauth-authorization-server']);

/** Adds the members to the discovery document that later middleware returns. */
export function discloseRegistration(issuer: string, policies: PolicyDirectory): Middleware {
  return async (ctx, next) => {
    await next();
    if (!DOCUMENTS.has(ctx.path) || ctx.status !== 200 || typeof ctx.body !== 'object' || ctx.body === null) return;
    ctx.body = {
      ...ctx.body,
      ...(policies.any && { registration_endpoint: `${issuer}${REGISTRATION_PATH}` }),
      ...(policies.forDocuments && { client_id_metadata_document_supported: true }),
    };
  };
}
