/** Admits clients to the fast path: decides which clients it serves, and authenticates them with their secret. */
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import type { SecretUses } from '../../clients/secret_last_used.ts';
import type { SecretVerifier } from '../../clients/secret_verifier.ts';
import type { RequestContext } from '../../http/request_context.ts';
import type { RateLimiter } from '../../limits/rate_limiter.ts';
import type { PlainCredentials } from './plain_request.ts';

/**
 * `true` for each member of the metadata that does not change how the fast path answers. The library serves a client
 * that has another member. A new member of `ClientMetadata` is a type error until a developer adds it here.
 */
const SUPPORTED: Readonly<Record<keyof ClientMetadata, boolean>> = {
  ...decide(true, ['client_name', 'client_uri', 'logo_uri', 'policy_uri', 'tos_uri', 'contacts', 'application_type']),
  ...decide(true, ['software_id', 'software_version', 'secret_rotation_days', 'token_endpoint_auth_method']),
  ...decide(true, ['grant_types', 'response_types', 'response_modes', 'redirect_uris', 'scope', 'pkce_exemption']),
  ...decide(true, ['resources', 'introspects', 'authorization_details_types', 'subject_type']),
  ...decide(true, ['id_token_signed_response_alg', 'userinfo_signed_response_alg']),
  ...decide(true, ['introspection_signed_response_alg', 'default_max_age', 'require_auth_time', 'required_acr']),
  ...decide(true, ['id_token_claims', 'userinfo_audience', 'allowed_groups']),
  ...decide(true, ['account_claims', 'claim_mappings', 'first_party']),
  ...decide(true, ['post_logout_redirect_uris', 'backchannel_logout_uri', 'backchannel_logout_session_required']),
  ...decide(false, [
    'profile',
    'jwks',
    'jwks_uri',
    'token_endpoint_auth_signing_alg',
    'assertion_audience',
    'sector_identifier_uri',
  ]),
  ...decide(false, ['tls_client_auth_subject_dn', 'tls_client_auth_san_dns', 'tls_client_auth_san_uri']),
  ...decide(false, ['tls_client_auth_san_ip', 'tls_client_auth_san_email']),
  ...decide(false, ['tls_client_certificate_bound_access_tokens', 'dpop_bound_access_tokens']),
  ...decide(false, ['require_pushed_authorization_requests', 'require_signed_request_object']),
  ...decide(false, ['request_object_signing_alg', 'authorization_signed_response_alg']),
  ...decide(false, ['backchannel_token_delivery_mode', 'backchannel_client_notification_endpoint']),
  ...decide(false, ['backchannel_authentication_request_signing_alg', 'allowed_cors_origins']),
};

function decide<Member extends string>(supported: boolean, members: readonly Member[]): Record<Member, boolean> {
  return Object.fromEntries(members.map((member) => [member, supported])) as Record<Member, boolean>;
}

export interface ClientAdmissionSettings {
  readonly clients: ClientDirectory;
  readonly verifier: SecretVerifier;
  readonly uses: SecretUses;
  readonly traffic: RateLimiter;
}

export class ClientAdmission {
  readonly #settings: ClientAdmissionSettings;
  readonly #plain = new WeakMap<ClientWithSecrets, boolean>();

  constructor(settings: ClientAdmissionSettings) {
    this.#settings = settings;
  }

  /** Returns the client if its secret is right; `undefined` if the library must decide. */
  async admit<Asked extends PlainCredentials>(
    endpoint: { serves(client: ClientWithSecrets, asked: Asked): boolean },
    asked: Asked,
    { address, now }: RequestContext,
  ): Promise<ClientWithSecrets | undefined> {
    const { clients, verifier, uses, traffic } = this.#settings;
    const known = clients.known(asked.clientId);
    // a request may name any client, so an address that has reached its limit must not cause a query
    if (!known && !traffic.addressHasLeft(address)) return undefined;
    const client = known ?? (await clients.find(asked.clientId));
    if (!client || client.revokedAt || client.metadata.token_endpoint_auth_method !== asked.method) return undefined;
    if (!this.#isPlain(client) || !endpoint.serves(client, asked)) return undefined;
    // a self-registered client also counts against the limit of its address; the library makes the refusal
    if (client.registration && !traffic.addressHasLeft(address)) return undefined;
    const secret = await verifier.verify(client, { secret: asked.clientSecret, address }, now);
    if (!secret) return undefined;
    uses.note(secret.secretId, now);
    return client;
  }

  #isPlain(client: ClientWithSecrets): boolean {
    const known = this.#plain.get(client);
    if (known !== undefined) return known;
    const members = Object.entries(client.metadata).filter(([, value]) => value !== undefined && value !== false);
    const plain = members.every(([member]) => SUPPORTED[member as keyof ClientMetadata]);
    this.#plain.set(client, plain);
    return plain;
  }
}
