/** Client credentials, the bulk of what a token server does, on a lean path (fast_path.ts). */
import { randomBytes } from 'node:crypto';
import type { AuditTrail } from '../../audit/trail.ts';
import { epochSeconds } from '../../base/clock.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { RequestContext } from '../../http/request_context.ts';
import type { KeyRing } from '../../keys/key_ring.ts';
import type { Signer } from '../../keys/signer.ts';
import { tokenIssued } from '../request/request_events.ts';
import type { Entitlement, ResourcePolicy } from '../tokens/resource_policy.ts';
import { originOf } from './fast_path.ts';
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

  /** The answer leaves when its audit event is on disk, here as everywhere. */
  async answer(
    client: ClientWithSecrets,
    asked: PlainMachineRequest,
    context: RequestContext,
  ): Promise<string | undefined> {
    const { policy, ring, trail } = this.#settings;
    const entitlement = policy.entitlement(client, asked.scope, asked.resource);
    const signer = entitlement && ring.signer(entitlement.resource.signingAlg);
    if (!signer) return undefined;
    const { clientId, tokenGeneration: generation } = client;
    const { resource, scope } = entitlement;
    const token = await this.#sign(signer, client, entitlement, context.now);
    const expiresInSeconds = resource.accessTokenTtlSeconds;
    const event = tokenIssued({
      clientId,
      details: {
        grant_type: 'client_credentials',
        resource: resource.identifier,
        scope,
        jti: token.jti,
        expires_in_seconds: expiresInSeconds,
        expires_at: new Date(token.exp * 1000).toISOString(),
        generation,
        with_refresh_token: false,
      },
    });
    await trail.record(originOf(clientId, context), event);
    return `{"access_token":"${token.value}","expires_in":${expiresInSeconds},"token_type":"Bearer","scope":${JSON.stringify(scope)}}`;
  }

  async #sign(
    signer: Signer,
    { clientId, tokenGeneration }: ClientWithSecrets,
    { resource, scope }: Entitlement,
    now: Date,
  ): Promise<{ readonly value: string; readonly jti: string; readonly exp: number }> {
    const iat = epochSeconds(now);
    const exp = iat + resource.accessTokenTtlSeconds;
    const jti = randomBytes(32).toString('base64url');
    const value = await signer.sign('at+jwt', {
      gen: tokenGeneration,
      jti,
      sub: clientId,
      iat,
      exp,
      scope,
      client_id: clientId,
      iss: this.#settings.issuer,
      aud: resource.identifier,
    });
    return { value, jti, exp };
  }
}
