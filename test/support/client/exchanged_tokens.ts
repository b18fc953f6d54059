/** Token exchange and the JWT bearer grant by hand, so that any parameter can be wrong or come twice. */
import { decodeJwt } from 'jose';
import { basic } from './code_flow.ts';
import type { Admin } from './admin.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import type { RegisteredClient } from '../node/operator.ts';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
export const JWT = 'urn:ietf:params:oauth:token-type:jwt';

/** A member that is `undefined` is left out; one with several values comes that often. */
export type Form = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface TokenAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>> & {
    readonly access_token: string;
    readonly error?: string;
    readonly error_description?: string;
  };
}

async function requestGrant(
  { url }: Pick<Gatehouse, 'url'>,
  { client_id, client_secret }: RegisteredClient,
  form: Form,
  headers: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  const body = new URLSearchParams(client_secret === '' ? { client_id } : {});
  for (const [name, value] of Object.entries(form)) {
    for (const one of value === undefined ? [] : [value].flat()) body.append(name, one);
  }
  const authorization = client_secret === '' ? {} : { authorization: basic(client_id, client_secret) };
  const response = await fetch(`${url}/token`, { method: 'POST', headers: { ...authorization, ...headers }, body });
  return { status: response.status, body: (await response.json()) as TokenAnswer['body'] };
}

/** Exchanges an access token; what the form says wins. */
export function exchange(
  gatehouse: Pick<Gatehouse, 'url'>,
  client: RegisteredClient,
  subjectToken: string,
  form: Form = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  const good = { grant_type: TOKEN_EXCHANGE, subject_token: subjectToken, subject_token_type: ACCESS_TOKEN };
  return requestGrant(gatehouse, client, { ...good, ...form }, headers);
}

export function present(
  gatehouse: Pick<Gatehouse, 'url'>,
  client: RegisteredClient,
  assertion: string,
  form: Form = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  return requestGrant(gatehouse, client, { grant_type: JWT_BEARER, assertion, ...form }, headers);
}

/** The claims of a token that was given; throws with the answer where none was. */
export function claimsOf({ status, body }: TokenAnswer): Readonly<Record<string, unknown>> {
  if (status !== 200) throw new Error(`No token: ${status} ${JSON.stringify(body)}`);
  return decodeJwt(body.access_token);
}

export async function makePolicy(
  admin: Admin,
  noun: 'exchange-policies' | 'assertion-policies',
  members: Readonly<Record<string, unknown>>,
): Promise<string> {
  const { status, text, body } = await admin.post(`/${noun}`, members);
  if (status !== 201) throw new Error(`No policy: ${status} ${text}`);
  return String(body['policy_id']);
}

/** What introspection says to the client that the token was issued to, or to one that introspects its resource. */
export async function introspect(
  { url }: Pick<Gatehouse, 'url'>,
  { client_id, client_secret }: RegisteredClient,
  token: string,
): Promise<Readonly<Record<string, unknown>>> {
  const response = await fetch(`${url}/introspect`, {
    method: 'POST',
    headers: { authorization: basic(client_id, client_secret) },
    body: new URLSearchParams({ token }),
  });
  return (await response.json()) as Record<string, unknown>;
}
