/** The client credentials grant on the fast path (fast_path.ts). A token server gets most of its requests for it. */
import type { AuditTrail } from '../../audit/trail.ts';
import { randomTokenValue } from '../../base/token_value.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { RequestContext } from '../../http/request_context.ts';
import type { KeyRing } from '../../keys/key_ring.ts';
import { accessTokenClaims } from '../issuance/access_token.ts';
import { validityFrom } from '../issuance/issuance.ts';
import { tokenIssued } from '../issuance/token_issued.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import { originOfRequest } from './fast_path.ts';
import type { PlainMachineRequest } from './plain_request.ts';

export interface FastClientCredentialsSettings {
  readonly issuer: string;
  readonly policy: ResourcePolicy;
  readonly ring: KeyRing;
  readonly trail: AuditTrail;
}

export class FastClientCredentials {
  readonly #settings: FastClientCredentialsSettings;

  constructor(settings: FastClientCredentialsSettings) {
    this.#settings = settings;
  }

  /** Resolves after the audit event is on disk. */
  async answer(
    client: ClientWithSecrets,
    asked: PlainMachineRequest,
    context: RequestContext,
  ): Promise<string | undefined> {
    const { issuer, policy, ring, trail } = this.#settings;
    const entitlement = policy.entitlement(client, asked.scope, asked.resource);
    const signer = entitlement && ring.signer(entitlement.resource.signingAlg);
    if (!signer) return undefined;
    const { clientId } = client;
    const { resource, scope, lifetimeSeconds } = entitlement;
    const audience = resource.identifier;
    const { iat, exp } = validityFrom(context.now, lifetimeSeconds);
    const claims = accessTokenClaims({
      issuer,
      client,
      jti: randomTokenValue(),
      sub: clientId,
      iat,
      exp,
      audience,
      scope,
    });
    const token = await signer.sign('at+jwt', claims);
    const event = tokenIssued({
      clientId,
      grantType: asked.grantType,
      resource: audience,
      scope,
      expiresInSeconds: lifetimeSeconds,
      claims,
      withRefreshToken: false,
    });
    await trail.record(originOfRequest(clientId, context), event);
    return `{"access_token":"${token}","expires_in":${lifetimeSeconds},"scope":${JSON.stringify(scope)},"token_type":"Bearer"}`;
  }
}
