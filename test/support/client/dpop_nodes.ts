/** Two nodes, clients that prove keys to them, and requests at the token endpoint with any proof. */
import assert from 'node:assert/strict';
import { REDIRECT_URI, registerPublicApplication, requestCode, type Callback } from './code_flow.ts';
import { makeProofKey, prove, type ProofKey, type ProofParts } from './dpop.ts';
import { postForm, startGatehouse, type Gatehouse } from '../node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../node/operator.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface DpopScene {
  readonly gatehouse: Gatehouse;
  readonly second: Gatehouse;
  /** A confidential client that gets bound tokens alone. */
  readonly client: RegisteredClient;
  /** A public one that people log in to. */
  readonly spa: RegisteredClient;
  readonly key: ProofKey;
  /** For the token endpoint, by the scene's key unless told. */
  readonly proof: (parts?: ProofParts, by?: ProofKey) => Promise<string>;
  /** Asks the token endpoint, by client credentials unless told. */
  readonly ask: (
    dpop: string | undefined,
    form?: Readonly<Record<string, string>>,
    how?: { readonly who?: RegisteredClient; readonly node?: Gatehouse },
  ) => Promise<Answer>;
  /** Asserts that the proof gets no token. */
  readonly refuses: (dpop: string | undefined, error?: string) => Promise<void>;
  /** The tokens of a person at the public client, bound to the key; for userinfo. */
  readonly boundTokens: () => Promise<{ readonly access_token: string; readonly refresh_token: string }>;
  readonly stop: () => Promise<void>;
}

export async function openDpopScene(): Promise<DpopScene> {
  const gatehouse = await startGatehouse();
  const second = await startGatehouse({ beside: gatehouse });
  const client = await registerClient(gatehouse, { dpop_bound_access_tokens: true });
  const spa = await registerPublicApplication(gatehouse);
  const key = await makeProofKey();
  const proof: DpopScene['proof'] = (parts = {}, by = key) => prove(by, ['POST', `${gatehouse.issuer}/token`], parts);
  const ask: DpopScene['ask'] = async (dpop, form = {}, { who = client, node = gatehouse } = {}) => {
    const named = who.client_secret === '' ? { client_id: who.client_id } : {};
    const parameters = { grant_type: 'client_credentials', ...named, ...form };
    const headers = dpop === undefined ? undefined : { DPoP: dpop };
    return read(await postForm(`${node.url}/token`, parameters, who.client_secret === '' ? undefined : who, headers));
  };
  return {
    gatehouse,
    second,
    client,
    spa,
    key,
    proof,
    ask,
    async refuses(dpop, error = 'invalid_dpop_proof') {
      const { status, body } = await ask(dpop);
      assert.deepEqual([status, body['error'], body['access_token']], [400, error, undefined], JSON.stringify(body));
    },
    async boundTokens() {
      const { body } = await ask(await proof(), codeForm(await requestCode(gatehouse, spa)), { who: spa });
      assert.equal(body['token_type'], 'DPoP', JSON.stringify(body));
      return body as unknown as { access_token: string; refresh_token: string };
    },
    async stop() {
      await second.stop();
      await gatehouse.stop();
    },
  };
}

export async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  const body = (text === '' ? {} : JSON.parse(text)) as Answer['body'];
  return { status: response.status, headers: response.headers, body };
}

export function codeForm({ code, verifier }: Callback) {
  return { grant_type: 'authorization_code', redirect_uri: REDIRECT_URI, code, code_verifier: verifier };
}

/** Epoch seconds. */
export function ago(seconds: number): number {
  return Math.floor(Date.now() / 1000) - seconds;
}
