/** Validates the members of a resource in admin requests. */
import { z } from 'zod';
import { ClaimMappings } from '../base/claim_mappings.ts';
import { ONE_OF_REQUIRABLE_ACRS, REQUIRABLE_ACRS } from '../base/acr_values.ts';
import { ONE_OF_SIGNING_ALGS, SIGNING_ALGS } from '../base/signing_algs.ts';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';
import { OPENID_SCOPES } from './resource.ts';

const reserved = new Set<string>(OPENID_SCOPES);

const scopeName = z
  .string()
  .min(1, 'must not be empty')
  .max(128, 'must not be longer than 128 characters')
  .regex(
    /^[\x21\x23-\x5B\x5D-\x7E]+$/,
    'must consist of visible ASCII characters without space, quote or backslash (RFC 6749, 3.3)',
  )
  .refine((name) => !name.includes('*'), 'must not contain a wildcard; name each scope')
  .refine((name) => !reserved.has(name), 'is a scope of OpenID Connect and belongs to the server');

const resourceIdentifier = z
  .string()
  .max(512, 'must not be longer than 512 characters')
  .refine(
    (text) => /^[a-z][a-z0-9+.-]*:[\x21-\x7e]+$/.test(text) && URL.canParse(text),
    'must be an absolute URI (RFC 8707, 2)',
  )
  .refine((text) => !text.includes('#'), 'must not have a fragment (RFC 8707, 2)')
  .refine(
    (text) => !/^(javascript|data|file|blob|about|vbscript):/.test(text),
    'must have the scheme https, http or another one that identifies an API',
  );

const scopes = z
  .array(
    z.strictObject({
      name: scopeName,
      description: z
        .string()
        .trim()
        .min(1, 'must describe what the scope allows')
        .max(200, 'must not be longer than 200 characters'),
      details: z
        .string()
        .trim()
        .min(1, 'must not be empty')
        .max(200, 'must not be longer than 200 characters')
        .exactOptional()
        .describe('What the scope means for the person, in a second sentence on the consent page.'),
      access: z
        .enum(['read', 'write'], 'must be read or write')
        .exactOptional()
        .describe('Whether the scope only reads. Without it, the name decides: notes:read reads, another one writes.'),
    }),
  )
  .min(1, 'must name at least one scope')
  .max(200, 'must not name more than 200 scopes')
  .refine((all) => new Set(all.map((scope) => scope.name)).size === all.length, 'must not name a scope twice');

const settings = {
  display_name: z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(100, 'must not be longer than 100 characters')
    .refine(isVisible, INVISIBLE_REFUSED)
    .nullable()
    .describe('What people are shown instead of the identifier, such as Orders. null: no name.'),
  scopes,
  access_token_ttl_seconds: z
    .int('must be a whole number of seconds')
    .min(10, 'must be at least 10 seconds')
    .max(86_400, 'must be at most a day (86400)'),
  signing_alg: z.enum(SIGNING_ALGS, ONE_OF_SIGNING_ALGS),
  userinfo_audience: z
    .boolean('must be true or false')
    .describe('false: no access token for this resource is for userinfo too.'),
  claim_mappings: ClaimMappings.describe(
    'Claims about the person in access tokens for this resource. A member of the profile is given where the person has granted the client the scope that gives it.',
  ),
  required_acr: z
    .enum(REQUIRABLE_ACRS, ONE_OF_REQUIRABLE_ACRS)
    .nullable()
    .describe('The authentication context that a login for this resource needs. null: a password is enough.'),
};

export const NewResource = z.strictObject({
  identifier: resourceIdentifier,
  ...settings,
  display_name: settings.display_name.default(null),
  access_token_ttl_seconds: settings.access_token_ttl_seconds.default(600),
  signing_alg: settings.signing_alg.default('ES256'),
  userinfo_audience: settings.userinfo_audience.default(true),
  claim_mappings: settings.claim_mappings.default([]),
  required_acr: settings.required_acr.default(null),
});
export const ResourcePatch = z.strictObject(settings).partial();
