/** Client id metadata documents (draft-ietf-oauth-client-id-metadata-document): what such a URL and its document must be. Pure. */
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import { parseJson } from '../http/json_text.ts';
import { underPolicy, type Given } from './allowed_metadata.ts';
import { isAmong, isForDocuments, type RegistrationPolicy } from './policy.ts';
import { refusedMember, type RegistrationRefused } from './refusal.ts';

const LONGEST_URL_CHARACTERS = 400;
const LARGEST_DOCUMENT_BYTES = 32 * 1024;

/**
 * An https URL in its one normal form, with a path, and nothing that could make two clients of one document: no
 * fragment, no query, no user (section 3 of the draft). A port is taken where the way out goes there.
 */
export function isDocumentUrl(clientId: string): boolean {
  const url = clientId.length <= LONGEST_URL_CHARACTERS ? URL.parse(clientId) : null;
  if (!url || url.protocol !== 'https:' || url.href !== clientId) return false;
  return url.pathname !== '/' && !/[?#@*]/.test(clientId) && !/%2e|%2f|%5c/i.test(url.pathname);
}

export function isTakenFrom({ client_id_hosts: hosts }: RegistrationPolicy, clientId: string): boolean {
  return isAmong(hosts, new URL(clientId).hostname);
}

/** The document's metadata under the policy; throws `RegistrationRefused`. */
export function readDocument(
  policy: RegistrationPolicy,
  clientId: string,
  { contentType, body }: { readonly contentType: string; readonly body: Buffer },
): ClientMetadata {
  if (!/^application\/([a-z0-9.-]+\+)?json\s*(;|$)/i.test(contentType)) throw noDocument('is not application/json');
  if (body.length > LARGEST_DOCUMENT_BYTES) throw noDocument(`has more than ${LARGEST_DOCUMENT_BYTES} bytes`);
  const given = membersOf(body);
  if (given['client_id'] !== clientId) throw refusedMember('client_id', 'must be the URL that the document is at');
  for (const member of ['client_secret', 'client_secret_expires_at']) {
    if (member in given) throw refusedMember(member, 'must not be in a document that everybody can read');
  }
  return underPolicy(forDocument(policy, clientId), given);
}

/** No secret can be agreed on; and people are told the document's host, so that is where they must end up. */
function forDocument(policy: RegistrationPolicy, clientId: string): RegistrationPolicy {
  return {
    ...policy,
    token_endpoint_auth_methods: policy.token_endpoint_auth_methods.filter(isForDocuments),
    redirect_uri_hosts: policy.redirect_uri_hosts ?? [new URL(clientId).hostname],
  };
}

function membersOf(body: Buffer): Given {
  let value: unknown;
  try {
    value = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw noDocument('is not JSON as it should be');
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Given;
  throw noDocument('is not a JSON object');
}

function noDocument(detail: string): RegistrationRefused {
  return refusedMember('the client metadata document', detail);
}
