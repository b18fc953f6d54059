/** Pushed authorization requests (RFC 9126) by hand, so that any part of them can be wrong. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { authorizationRequest } from './authorization_request.ts';
import { basic } from './code_flow.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import type { RegisteredClient } from '../node/operator.ts';

export const VERIFIER = 'v'.repeat(43);
export const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url');

/** A member that is `undefined` is left out. */
export type Form = Readonly<Record<string, string | undefined>>;

export interface Pushed {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** A request that the client may make; what is changed wins. */
export function formOf(client: RegisteredClient, changed: Form = {}): URLSearchParams {
  return authorizationRequest(client, { state: 'the-state', code_challenge: CHALLENGE, ...changed });
}

export async function sendRequest(
  { url }: Pick<Gatehouse, 'url'>,
  { client_id, client_secret }: RegisteredClient,
  body: URLSearchParams,
  headers: Readonly<Record<string, string>> = {},
): Promise<Pushed> {
  const authorization = client_secret === '' ? undefined : basic(client_id, client_secret);
  const response = await fetch(`${url}/par`, {
    method: 'POST',
    headers: { ...(authorization !== undefined && { authorization }), ...headers },
    body,
  });
  return { status: response.status, body: (await response.json()) as Pushed['body'] };
}

/** The `request_uri`. */
export async function pushRequest(
  gatehouse: Pick<Gatehouse, 'url'>,
  client: RegisteredClient,
  changed: Form = {},
): Promise<string> {
  const { status, body } = await sendRequest(gatehouse, client, formOf(client, changed));
  assert.equal(status, 201, JSON.stringify(body));
  return String(body['request_uri']);
}

/** Where a browser opens a pushed request. */
export function addressOf(
  { issuer }: Pick<Gatehouse, 'issuer'>,
  { client_id }: RegisteredClient,
  request_uri: string,
  more: Readonly<Record<string, string>> = {},
): string {
  return `${issuer}/authorize?${new URLSearchParams({ client_id, request_uri, ...more })}`;
}
