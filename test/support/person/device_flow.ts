/** The device flow (RFC 8628) as a device does it, and the person at its pages without a browser. */
import type * as openid from 'openid-client';
import { DEVICE_CODE } from '../../../src/clients/metadata/flows.ts';
import { postForm, type Gatehouse } from '../node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../node/operator.ts';
import { Person, type Arrival } from './person.ts';

/** What pages say at the end, and of a code that no device waits with. */
export const CONNECTED = /Your device is connected/;
export const UNKNOWN_CODE = /No device waits with this code/;

/** A television: no secret, nowhere to be redirected to. */
export function registerDevice(
  gatehouse: Gatehouse,
  metadata: Readonly<Record<string, unknown>> = {},
): Promise<RegisteredClient> {
  return registerClient(gatehouse, {
    client_name: 'Living-room TV',
    grant_types: [DEVICE_CODE, 'refresh_token'],
    token_endpoint_auth_method: 'none',
    ...metadata,
  });
}

export interface DeviceAnswer extends openid.DeviceAuthorizationResponse {
  readonly verification_uri_complete: string;
}

export async function requestDevice(
  { url }: Pick<Gatehouse, 'url'>,
  client: RegisteredClient,
  parameters: Readonly<Record<string, string>> = { scope: 'openid' },
): Promise<DeviceAnswer> {
  const response = await post(`${url}/device_authorization`, client, parameters);
  const body = (await response.json()) as DeviceAnswer;
  if (response.status !== 200) throw new Error(`No device code: ${response.status} ${JSON.stringify(body)}`);
  return body;
}

export interface PollAnswer {
  readonly status: number;
  readonly error?: string;
  readonly access_token?: string;
  readonly refresh_token?: string;
  readonly id_token?: string;
  readonly scope?: string;
}

export async function poll(
  { url }: Pick<Gatehouse, 'url'>,
  client: RegisteredClient,
  device_code: string,
): Promise<PollAnswer> {
  const response = await post(`${url}/token`, client, { grant_type: DEVICE_CODE, device_code });
  return { ...((await response.json()) as object), status: response.status };
}

/** A form, with the client's secret where it has one. */
export function post(
  address: string,
  client: RegisteredClient,
  form: Readonly<Record<string, string>>,
): Promise<Response> {
  return client.client_secret === ''
    ? postForm(address, { client_id: client.client_id, ...form })
    : postForm(address, form, client);
}

/** The fields of the page's first form, hidden ones included, as they would be sent. */
export function fieldsOf(page: string): Record<string, string> {
  const [form = ''] = /<form method="post".*?<\/form>/s.exec(page) ?? [];
  const fields = [...form.matchAll(/<input[^>]* name="(\w+)"[^>]*>/g)].map(([input, name]) => [
    name,
    / value="([^"]*)"/.exec(input)?.[1] ?? '',
  ]);
  return Object.fromEntries(fields) as Record<string, string>;
}

/** Opens the page and enters the code; arrives at the login or at the decision, if there is such a code. */
export async function enterCode({ issuer }: Gatehouse, person: Person, user_code: string): Promise<Arrival> {
  const { page } = await person.open(`${issuer}/device`);
  return person.submit(`${issuer}/device`, { ...fieldsOf(page), user_code });
}

/** From the code to the end, through login and consent as this person decides about them. */
export async function connectDevice(
  gatehouse: Gatehouse,
  user_code: string,
  person = new Person(gatehouse),
): Promise<Arrival> {
  return person.finish(await enterCode(gatehouse, person, user_code));
}
