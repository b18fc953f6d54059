/** A relying party as the OpenID Foundation's conformance suite plays one: openid-client, with every answer looked at. */
import assert from 'node:assert/strict';
import * as openid from 'openid-client';
import { configure, REDIRECT_URI, registerApplication } from './code_flow.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import type { RegisteredClient } from '../node/operator.ts';
import type { Arrival, Person } from '../person/person.ts';

export type ResponseMode = 'query' | 'form_post';
type Parameters = Readonly<Record<string, string>>;

/** An authorization response as it reached the redirect URI. */
export interface Answer {
  readonly parameters: URLSearchParams;
  /** As openid-client takes it. */
  readonly callback: URL | Request;
}

/** What every account of OpenID Connect Core (5.1) has to tell, beside name and e-mail address. */
export const PROFILE = {
  given_name: 'Demo',
  family_name: 'Person',
  middle_name: 'von',
  nickname: 'demo',
  preferred_username: 'demo.person',
  profile: 'https://people.example.com/demo',
  picture: 'https://people.example.com/demo.png',
  website: 'https://demo.example.com',
  gender: 'female',
  birthdate: '1990-02-28',
  zoneinfo: 'Europe/Berlin',
  locale: 'de-DE',
  phone_number: '+49 30 1234567',
  phone_number_verified: true,
  address: { formatted: 'Unter den Linden 1\n10117 Berlin', locality: 'Berlin', postal_code: '10117', country: 'DE' },
} as const;

/** Gives the demo account that profile. */
export async function fillInProfile(gatehouse: Gatehouse): Promise<string> {
  const found = await gatehouse.adminCall('GET', '/accounts?q=demo%40example.com');
  const { items } = (await found.json()) as { items: { account_id: string }[] };
  const accountId = items[0]!.account_id;
  assert.equal((await gatehouse.adminCall('PATCH', `/accounts/${accountId}`, PROFILE)).status, 200);
  return accountId;
}

export class RelyingParty {
  readonly gatehouse: Gatehouse;
  readonly client: RegisteredClient;
  readonly config: openid.Configuration;
  readonly #mode: ResponseMode;

  private constructor(
    gatehouse: Gatehouse,
    client: RegisteredClient,
    config: openid.Configuration,
    mode: ResponseMode,
  ) {
    this.gatehouse = gatehouse;
    this.client = client;
    this.config = config;
    this.#mode = mode;
  }

  /** The suite knows no PKCE but in the one module that is about it: its client is let off. */
  static async register(
    gatehouse: Gatehouse,
    mode: ResponseMode,
    metadata: Readonly<Record<string, unknown>> = {},
  ): Promise<RelyingParty> {
    const exempt = { pkce_exemption: { reason: 'the certification suite sends none' }, ...metadata };
    const client = await registerApplication(gatehouse, exempt);
    const inBody = metadata['token_endpoint_auth_method'] === 'client_secret_post';
    const authentication = inBody ? openid.ClientSecretPost(client.client_secret) : undefined;
    return new RelyingParty(gatehouse, client, await configure(gatehouse, client, authentication), mode);
  }

  /** The parameters of a request, in this order. */
  parameters(more: Parameters = {}): Record<string, string> {
    const { client_id } = this.client;
    const mode: Parameters = this.#mode === 'form_post' ? { response_mode: 'form_post' } : {};
    return { client_id, redirect_uri: REDIRECT_URI, response_type: 'code', scope: 'openid', ...mode, ...more };
  }

  url(parameters: Parameters): string {
    return `${this.gatehouse.issuer}/authorize?${new URLSearchParams(parameters)}`;
  }

  /** Sends a person there, who logs in and consents where that is asked; the answer may be an error. */
  async ask(person: Person, more: Parameters = {}): Promise<Answer> {
    return this.read(await person.walk(this.url(this.parameters(more))));
  }

  /** The answer in what the person ended at; throws when it isn't addressed to the redirect URI. */
  read({ url, page }: Arrival): Answer {
    if (this.#mode === 'query') {
      assert.equal(url.split('?')[0], REDIRECT_URI, page.replaceAll(/<[^>]*>|\s+/g, ' '));
      return { parameters: new URL(url).searchParams, callback: new URL(url) };
    }
    const [, action, fields = ''] = /<form method="post" action="([^"]*)">(.*?)<\/form>/s.exec(page) ?? [];
    assert.equal(action, REDIRECT_URI, page.replaceAll(/<[^>]*>|\s+/g, ' '));
    const inputs = [...fields.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)];
    const parameters = new URLSearchParams(inputs.map(([, name = '', value = '']) => [name, plain(value)]));
    return { parameters, callback: new Request(REDIRECT_URI, { method: 'POST', body: parameters }) };
  }

  /** Asks, and redeems the code; openid-client checks state, nonce, issuer, audience, times and the signature. */
  async logIn(
    person: Person,
    more: Parameters = {},
  ): Promise<openid.TokenEndpointResponse & openid.TokenEndpointResponseHelpers> {
    const state = openid.randomState();
    const nonce = more['nonce'] ?? openid.randomNonce();
    const answer = await this.ask(person, { state, nonce, ...more });
    assert.equal(answer.parameters.get('error'), null, String(answer.parameters));
    return this.redeem(answer, { expectedState: state, expectedNonce: nonce });
  }

  redeem(answer: Answer, checks: openid.AuthorizationCodeGrantChecks = {}) {
    return openid.authorizationCodeGrant(this.config, answer.callback, checks);
  }

  async userinfo(token: string, how: 'get' | 'post-header' | 'post-body' = 'get'): Promise<Record<string, unknown>> {
    const inHeader = { authorization: `Bearer ${token}` };
    const response = await fetch(`${this.gatehouse.url}/userinfo`, {
      method: how === 'get' ? 'GET' : 'POST',
      ...(how === 'post-body' ? { body: new URLSearchParams({ access_token: token }) } : { headers: inHeader }),
    });
    assert.equal(response.status, 200, how);
    return (await response.json()) as Record<string, unknown>;
  }
}

/** How often a person was asked for the password so far, and gave it. */
export function loginsOf({ trace }: Person): number {
  return trace.filter((line) => /^POST \S+\/login /.test(line)).length;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
};

function plain(text: string): string {
  return text.replaceAll(/&[#\w]+;/g, (entity) => ENTITIES[entity] ?? entity);
}
