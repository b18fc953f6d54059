/** The authorization code flow as an application does it: openid-client makes the request and checks every answer. */
import * as openid from 'openid-client';
import type { Gatehouse } from '../node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../node/operator.ts';
import { Person } from '../person/person.ts';

/** Nothing listens there: what comes back is read from the redirect. */
export const REDIRECT_URI = 'https://app.example.com/callback';

/** A web application that keeps a secret, and may use the demo API. */
export function registerApplication(
  gatehouse: Gatehouse,
  metadata: Readonly<Record<string, unknown>> = {},
): Promise<RegisteredClient> {
  return registerClient(gatehouse, {
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: [REDIRECT_URI],
    ...metadata,
  });
}

/** A single-page application: no secret, PKCE alone. */
export function registerPublicApplication(
  gatehouse: Gatehouse,
  metadata: Readonly<Record<string, unknown>> = {},
): Promise<RegisteredClient> {
  return registerApplication(gatehouse, { token_endpoint_auth_method: 'none', ...metadata });
}

/** openid-client for this client, configured from our discovery document. */
export function configure(
  { issuer }: Gatehouse,
  { client_id, client_secret }: RegisteredClient,
  authentication: openid.ClientAuth = client_secret ? openid.ClientSecretBasic(client_secret) : openid.None(),
): Promise<openid.Configuration> {
  return openid.discovery(new URL(issuer), client_id, undefined, authentication, {
    execute: [openid.allowInsecureRequests],
  });
}

export interface SignIn {
  readonly scope?: string;
  /** More parameters of the authorization request, such as `resource`. */
  readonly parameters?: Readonly<Record<string, string>>;
  readonly person?: Person;
}

export interface Callback {
  readonly config: openid.Configuration;
  readonly person: Person;
  /** Where the browser was sent, with the code. */
  readonly callback: URL;
  readonly code: string;
  readonly verifier: string;
  readonly checks: openid.AuthorizationCodeGrantChecks;
}

export interface SignedIn extends Callback {
  readonly tokens: openid.TokenEndpointResponse & openid.TokenEndpointResponseHelpers;
}

/** Up to the callback: the code is still unused. */
export async function requestCode(
  gatehouse: Gatehouse,
  client: RegisteredClient,
  { scope = 'openid', parameters = {}, person = new Person(gatehouse) }: SignIn = {},
): Promise<Callback> {
  const config = await configure(gatehouse, client);
  const verifier = openid.randomPKCECodeVerifier();
  const state = openid.randomState();
  // without `openid` no ID token comes back that could carry a nonce
  const nonce = scope.split(' ').includes('openid') ? openid.randomNonce() : undefined;
  const url = openid.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT_URI,
    scope,
    state,
    ...(nonce !== undefined && { nonce }),
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  });
  const callback = await person.authorize(url);
  const checks = {
    pkceCodeVerifier: verifier,
    expectedState: state,
    ...(nonce !== undefined && { expectedNonce: nonce }),
  };
  return { config, person, callback, code: callback.searchParams.get('code') ?? '', verifier, checks };
}

/** The whole flow, to the tokens. */
export async function signIn(gatehouse: Gatehouse, client: RegisteredClient, how: SignIn = {}): Promise<SignedIn> {
  const callback = await requestCode(gatehouse, client, how);
  const { config, checks } = callback;
  return { ...callback, tokens: await openid.authorizationCodeGrant(config, callback.callback, checks) };
}

/** Redeems a code by hand, so that any part of it can be wrong; leave a member out with `undefined`. */
export function redeem(
  url: string,
  { client_id, client_secret }: RegisteredClient,
  { code, verifier }: Pick<Callback, 'code' | 'verifier'>,
  changed: Readonly<Record<string, string | undefined>> = {},
): Promise<Response> {
  const form: Record<string, string | undefined> = {
    grant_type: 'authorization_code',
    redirect_uri: REDIRECT_URI,
    code,
    code_verifier: verifier,
    ...(client_secret === '' && { client_id }),
    ...changed,
  };
  const given = Object.entries(form).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return fetch(`${url}/token`, {
    method: 'POST',
    headers: client_secret === '' ? {} : { authorization: basic(client_id, client_secret) },
    body: new URLSearchParams(Object.fromEntries(given)),
  });
}

/** RFC 6749 §2.3.1: both parts form-encoded before they are joined. */
export function basic(clientId: string, clientSecret: string): string {
  const encoded = [clientId, clientSecret].map((part) => new URLSearchParams([['', part]]).toString().slice(1));
  return `Basic ${Buffer.from(encoded.join(':')).toString('base64')}`;
}
