/** A bank's client: registered with profile fapi2, proves itself by private_key_jwt, binds its tokens by DPoP. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey } from 'jose';
import * as openid from 'openid-client';
import { REDIRECT_URI } from './code_flow.ts';
import { makeProofKey, prove, type ProofKey } from './dpop.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import { registerClient } from '../node/operator.ts';
import { Person } from '../person/person.ts';

export const VERIFIER = 'v'.repeat(43);

type Members = Readonly<Record<string, unknown>>;
/** Members that are `undefined` are left out. */
export type Form = Readonly<Record<string, string | undefined>>;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Members;
}

export interface Signed {
  readonly header?: Members;
  /** Members that are `undefined` are left out. */
  readonly claims?: Members;
  readonly key?: CryptoKey;
}

/** How a request is made: by its assertion, and with a proof of the key, unless told otherwise. */
export interface How {
  readonly assertion?: string;
  /** A proof as it is, or a key to make one with; `null` leaves it out. */
  readonly dpop?: ProofKey | string | null;
}

export class Fapi2Client {
  readonly gatehouse: Gatehouse;
  readonly clientId: string;
  readonly key: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly proofKey: ProofKey;
  readonly challenge: string;

  private constructor(
    gatehouse: Gatehouse,
    clientId: string,
    pair: CryptoKeyPair,
    proofKey: ProofKey,
    challenge: string,
  ) {
    this.gatehouse = gatehouse;
    this.clientId = clientId;
    this.key = pair.privateKey;
    this.publicKey = pair.publicKey;
    this.proofKey = proofKey;
    this.challenge = challenge;
  }

  static async register(gatehouse: Gatehouse, metadata: Members = {}): Promise<Fapi2Client> {
    const pair = await generateKeyPair('ES256', { extractable: true });
    const { client_id } = await registerClient(gatehouse, {
      profile: 'fapi2',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      redirect_uris: [REDIRECT_URI],
      token_endpoint_auth_method: 'private_key_jwt',
      dpop_bound_access_tokens: true,
      jwks: { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'key-1' }] },
      ...metadata,
    });
    const challenge = await openid.calculatePKCECodeChallenge(VERIFIER);
    return new Fapi2Client(gatehouse, client_id, pair, await makeProofKey(), challenge);
  }

  assertion({ header = {}, claims = {}, key = this.key }: Signed = {}): Promise<string> {
    const now = epoch();
    const { clientId } = this;
    const payload = {
      iss: clientId,
      sub: clientId,
      aud: this.gatehouse.issuer,
      jti: randomUUID(),
      iat: now,
      exp: now + 60,
    };
    return sign({ ...payload, ...claims }, { alg: 'ES256', kid: 'key-1', ...header }, key);
  }

  /** A signed authorization request. */
  requestObject({ header = {}, claims = {}, key = this.key }: Signed = {}): Promise<string> {
    const now = epoch();
    const times = { iat: now, nbf: now, exp: now + 300 };
    const payload = { ...this.parameters(), iss: this.clientId, aud: this.gatehouse.issuer, ...times };
    const type = { alg: 'ES256', kid: 'key-1', typ: 'oauth-authz-req+jwt' };
    return sign({ ...payload, ...claims }, { ...type, ...header }, key);
  }

  parameters(changed: Form = {}): Form {
    return {
      client_id: this.clientId,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid',
      state: 'the-state',
      code_challenge: this.challenge,
      code_challenge_method: 'S256',
      ...changed,
    };
  }

  async post(path: string, form: Form, { assertion, dpop = this.proofKey }: How = {}): Promise<Answer> {
    const url = `${this.gatehouse.issuer}${path}`;
    const proof = typeof dpop === 'string' || dpop === null ? dpop : await prove(dpop, ['POST', url]);
    const authentication = {
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion ?? (await this.assertion()),
    };
    const response = await fetch(url, {
      method: 'POST',
      headers: proof === null ? {} : { DPoP: proof },
      body: new URLSearchParams(given({ ...authentication, ...form })),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: (text === '' ? {} : JSON.parse(text)) as Members,
    };
  }

  /** Pushes a request; without a proof unless one is given. */
  push(changed: Form = {}, how: How = {}): Promise<Answer> {
    return this.post('/par', this.parameters(changed), { dpop: null, ...how });
  }

  /** Pushes a signed one. */
  async pushSigned(signed: Signed = {}): Promise<Answer> {
    return this.post('/par', { client_id: this.clientId, request: await this.requestObject(signed) }, { dpop: null });
  }

  urlOf(pushed: Answer, more: Form = {}): string {
    assert.equal(pushed.status, 201, JSON.stringify(pushed.body));
    const request_uri = String(pushed.body['request_uri']);
    return this.authorizationUrl({ request_uri, ...more });
  }

  authorizationUrl(parameters: Form): string {
    const query = new URLSearchParams(given({ client_id: this.clientId, ...parameters }));
    return `${this.gatehouse.issuer}/authorize?${query}`;
  }

  /** What a person brings back to the application. */
  async answerTo(pushed: Answer, person = new Person(this.gatehouse)): Promise<URLSearchParams> {
    return (await person.authorize(this.urlOf(pushed))).searchParams;
  }

  /** The code of a person who logged in with a request that was pushed just now. */
  async code(changed: Form = {}, how: How = {}): Promise<string> {
    const answer = await this.answerTo(await this.push(changed, how));
    assert.match(answer.get('code') ?? '', /^[\w-]{43}$/, String(answer));
    return answer.get('code')!;
  }

  redeem(code: string, changed: Form = {}, how: How = {}): Promise<Answer> {
    const form = { grant_type: 'authorization_code', redirect_uri: REDIRECT_URI, code, code_verifier: VERIFIER };
    return this.post('/token', { ...form, ...changed }, how);
  }

  refresh(refreshToken: unknown, how: How = {}): Promise<Answer> {
    return this.post('/token', { grant_type: 'refresh_token', refresh_token: String(refreshToken) }, how);
  }
}

/** Epoch seconds, as tokens tell the time. */
export function epoch(): number {
  return Math.floor(Date.now() / 1_000);
}

function sign(claims: Members, header: Members, key: CryptoKey): Promise<string> {
  return new SignJWT(JSON.parse(JSON.stringify(claims)) as Record<string, unknown>)
    .setProtectedHeader({ alg: 'ES256', ...header })
    .sign(key);
}

function given(form: Form): Record<string, string> {
  return Object.fromEntries(
    Object.entries(form).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
