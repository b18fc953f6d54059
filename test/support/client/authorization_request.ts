/** Authorization requests by hand, as an attacker sends them, and what becomes of them. */
import assert from 'node:assert/strict';
import { REDIRECT_URI } from './code_flow.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import type { RegisteredClient } from '../node/operator.ts';

/** The challenge of no verifier that anyone knows: these requests are not to get as far as a code. */
export const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';

export type Parameters = URLSearchParams | string;

/** A good request of this client with some members changed; one that is `undefined` is left out. */
export function authorizationRequest(
  { client_id }: Pick<RegisteredClient, 'client_id'>,
  changed: Readonly<Record<string, string | undefined>> = {},
): URLSearchParams {
  const parameters = {
    client_id,
    response_type: 'code',
    redirect_uri: REDIRECT_URI,
    scope: 'openid',
    state: 'a-state',
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
    ...changed,
  };
  const given = Object.entries(parameters).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return new URLSearchParams(Object.fromEntries(given));
}

export function send({ url }: Pick<Gatehouse, 'url'>, parameters: Parameters): Promise<Response> {
  return fetch(`${url}/authorize?${parameters}`, { redirect: 'manual', headers: { accept: 'text/html' } });
}

export async function reachesLogin(gatehouse: Gatehouse, parameters: Parameters): Promise<void> {
  const response = await send(gatehouse, parameters);
  assert.match(response.headers.get('location') ?? '', /\/interaction\//, await response.text());
}

/** Answers with an error page of our own: the person is redirected nowhere. */
export async function staysHere(gatehouse: Gatehouse, parameters: Parameters): Promise<string> {
  const response = await send(gatehouse, parameters);
  const page = await response.text();
  assert.equal(response.headers.get('location'), null, `sent to ${response.headers.get('location')}`);
  assert.equal(response.status >= 400 && response.status < 500, true, `status ${response.status}`);
  return page;
}
