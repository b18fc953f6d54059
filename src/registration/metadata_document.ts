/**
 * Client id metadata documents (draft-ietf-oauth-client-id-metadata-document): validates the URL and the document,
 * without I/O.
 */
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import { parseJson } from '../http/json_text.ts';
import { underPolicy, type Given } from './allowed_metadata.ts';
import { isAmong, isForDocuments, type RegistrationPolicy } from './policy.ts';
import { refusedMember, type RegistrationRefused } from './refusal.ts';

const LONGEST_URL_CHARACTERS = 400;
const LARGEST_DOCUMENT_BYTES = 32 * 1024;

/**
 * True for a normalized https URL with a path and without a fragment, query or user, so that one document can't be two
 * clients (section 3 of the draft). `egress` decides which ports are permitted.
 */
export function isDocumentUrl(clientId: string): boolean {
  const url = clientId.length <= LONGEST_URL_CHARACTERS ? URL.parse(clientId) : null;
  if (!url || url.protocol !== 'https:' || url.href !== clientId) return false;
  return url.pathname !== '/' && !/[?#@*]/.test(clientId) && !/%2e|%2f|%5c/i.test(url.pathname);
}

/** True if the policy permits documents of the URL's host. */
export function isPermittedHost({ client_id_hosts: hosts }: RegistrationPolicy, clientId: string): boolean {
  return isAmong(hosts, new URL(clientId).hostname);
}

/** Returns the document's metadata under the policy; throws `RegistrationRefused`. */
export function readDocument(
  policy: RegistrationPolicy,
  clientId: string,
  { contentType, body }: { readonly contentType: string; readonly body: Buffer },
): ClientMetadata {
  if (!/^application\/([a-z0-9.-]+\+)?json\s*(;|$)/i.test(contentType))
    throw invalidDocument('must have the content type application/json');
  if (body.length > LARGEST_DOCUMENT_BYTES) throw invalidDocument(`must not exceed ${LARGEST_DOCUMENT_BYTES} bytes`);
  const given = membersOf(body);
  if (given['client_id'] !== clientId) throw refusedMember('client_id', 'must be the URL of the document');
  for (const member of ['client_secret', 'client_secret_expires_at']) {
    if (member in given) throw refusedMember(member, 'must not be in a public document');
  }
  const narrower = forDocument(policy, clientId);
  refuseOtherMethod(narrower, given['token_endpoint_auth_method']);
  return underPolicy(narrower, given);
}

/** No answer tells the owner of a document that another method was registered, so none is. */
function refuseOtherMethod({ token_endpoint_auth_methods: methods }: RegistrationPolicy, asked: unknown): void {
  if (typeof asked !== 'string' || asked === '' || methods.some((method) => method === asked)) return;
  throw refusedMember('token_endpoint_auth_method', `must be ${methods.join(' or ')}`);
}

/**
 * A document can't contain a secret. Consent pages show the document's host, so the redirect URIs must have that host
 * unless the policy names others.
 */
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
    throw invalidDocument('must be valid JSON');
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Given;
  throw invalidDocument('must be a JSON object');
}

function invalidDocument(detail: string): RegistrationRefused {
  return refusedMember('the client metadata document', detail);
}
