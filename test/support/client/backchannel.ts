/** Backchannel authentication (CIBA) as a client does it, and the person at the page where they decide. */
import { createHash } from 'node:crypto';
import type * as openid from 'openid-client';
import { CIBA } from '../../../src/clients/metadata/flows.ts';
import { fieldsOf, post, type PollAnswer } from '../person/device_flow.ts';
import { postForm, type Gatehouse } from '../node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../node/operator.ts';
import { Person, type Arrival } from '../person/person.ts';

/** A till that keeps a secret, and asks its customers. */
export function registerTill(
  gatehouse: Gatehouse,
  metadata: Readonly<Record<string, unknown>> = {},
): Promise<RegisteredClient> {
  return registerClient(gatehouse, {
    client_name: 'Corner shop',
    grant_types: [CIBA],
    backchannel_token_delivery_mode: 'poll',
    ...metadata,
  });
}

export type Asked = openid.BackchannelAuthenticationResponse;

/** The answer, successful or not. */
export async function askRaw(
  { url }: Pick<Gatehouse, 'url'>,
  client: RegisteredClient,
  parameters: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly headers: Headers; readonly body: Partial<Asked> & Refusal }> {
  const response = await postForm(`${url}/backchannel_authentication`, parameters, client);
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Partial<Asked> & Refusal,
  };
}

interface Refusal {
  readonly error?: string;
  readonly error_description?: string;
}

/** Asks the demo person, unless told otherwise. */
export async function ask(
  gatehouse: Gatehouse,
  client: RegisteredClient,
  parameters: Readonly<Record<string, string>> = {},
  node: Pick<Gatehouse, 'url'> = gatehouse,
): Promise<Asked> {
  const hint = 'id_token_hint' in parameters ? {} : { login_hint: gatehouse.account.email };
  const { status, body } = await askRaw(node, client, { scope: 'openid', ...hint, ...parameters });
  if (status !== 200) throw new Error(`Not asked: ${status} ${JSON.stringify(body)}`);
  return body as Asked;
}

export async function poll(
  { url }: Pick<Gatehouse, 'url'>,
  client: RegisteredClient,
  { auth_req_id }: Pick<Asked, 'auth_req_id'>,
): Promise<PollAnswer> {
  const response = await post(`${url}/token`, client, { grant_type: CIBA, auth_req_id });
  return { ...((await response.json()) as object), status: response.status };
}

/** Where the person decides about a request. */
export function pageOf({ issuer }: Gatehouse, { auth_req_id }: Asked): string {
  return `${issuer}/approve/${createHash('sha256').update(auth_req_id).digest('base64url')}`;
}

/** Opens the page, logging in on the way where that is asked. */
export async function openPage(page: string, person: Person): Promise<Arrival> {
  return person.finish(await person.open(page));
}

/** From the page, through a login, to the decision. */
export async function decide(
  gatehouse: Gatehouse,
  asked: Asked,
  decision: 'approve' | 'deny',
  person = new Person(gatehouse),
): Promise<Arrival> {
  const page = pageOf(gatehouse, asked);
  const shown = await openPage(page, person);
  return person.submit(page, { ...fieldsOf(shown.page), decision });
}
