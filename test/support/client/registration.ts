/** Registration as a client sees it: plain requests whose every part can be wrong, and what an admin sets up before. */
import type { Gatehouse } from '../node/gatehouse.ts';

export type Json = Readonly<Record<string, unknown>>;

export interface RegistrationAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Json & {
    readonly client_id: string;
    readonly client_secret?: string;
    readonly registration_access_token: string;
    readonly registration_client_uri: string;
    readonly error?: string;
    readonly error_description?: string;
  };
}

export const REDIRECT = 'https://app.example.com/callback';

/** Makes a policy; the node knows of it when this resolves. */
export async function makePolicy(gatehouse: Gatehouse, policy: Json): Promise<void> {
  const response = await gatehouse.adminCall('POST', '/registration-policies', policy);
  const text = await response.text();
  if (response.status !== 201) throw new Error(`No policy: ${response.status} ${text}`);
}

export async function changePolicy(gatehouse: Gatehouse, name: string, patch: Json): Promise<void> {
  const response = await gatehouse.adminCall('PATCH', `/registration-policies/${name}`, patch);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`No change: ${response.status} ${text}`);
}

export async function makeToken(
  gatehouse: Gatehouse,
  policy: string,
  more: Json = {},
): Promise<{ readonly initial_access_token: string; readonly token_id: string }> {
  const response = await gatehouse.adminCall('POST', '/initial-access-tokens', { policy, ...more });
  const body = (await response.json()) as { initial_access_token: string; token_id: string };
  if (response.status !== 201) throw new Error(`No token: ${response.status} ${JSON.stringify(body)}`);
  return body;
}

/** Registers as a web application, unless the metadata says otherwise; `undefined` leaves a member out. */
export function register(
  { url }: Pick<Gatehouse, 'url'>,
  metadata: Json = {},
  token?: string,
): Promise<RegistrationAnswer> {
  return send('POST', `${url}/register`, { redirect_uris: [REDIRECT], ...metadata }, token);
}

export async function send(
  method: string,
  url: string,
  body?: unknown,
  token?: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<RegistrationAnswer> {
  const response = await fetch(url, {
    method,
    headers: {
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...headers,
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const parsed = (text === '' ? {} : JSON.parse(text)) as RegistrationAnswer['body'];
  return { status: response.status, headers: response.headers, body: parsed };
}

/** The newest audit events of a kind. */
export async function auditEvents(gatehouse: Gatehouse, event: string): Promise<readonly Json[]> {
  const response = await gatehouse.adminCall('GET', `/audit-events?event=${event}&limit=100`);
  return ((await response.json()) as { items: Json[] }).items;
}
