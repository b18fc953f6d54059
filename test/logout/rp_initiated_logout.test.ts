import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt, decodeProtectedHeader, generateKeyPair, SignJWT } from 'jose';
import * as openid from 'openid-client';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { registerApplication, signIn, type SignedIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { logOut } from '../support/network/logout_receiver.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person, type Arrival } from '../support/person/person.ts';

const BYE = 'https://app.example.com/bye';

describe('RP-initiated logout', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse, { post_logout_redirect_uris: [BYE, `${BYE}?from=here`] });
  });
  after(() => gatehouse.stop());

  it('has its endpoint in the metadata (oidcc-rp-initiated-logout-discovery-endpoint-verification)', async () => {
    const response = await fetch(`${gatehouse.issuer}/.well-known/openid-configuration`);
    const metadata = (await response.json()) as { end_session_endpoint?: string };
    assert.equal(metadata.end_session_endpoint, `${gatehouse.issuer}/logout`);
    assert.equal((await fetch(metadata.end_session_endpoint)).status, 200);
  });

  it('ends the session and leads back with the state (oidcc-rp-initiated-logout)', async () => {
    const { config, person, tokens } = await signIn(gatehouse, client);
    const url = openid.buildEndSessionUrl(config, {
      id_token_hint: tokens.id_token!,
      post_logout_redirect_uri: BYE,
      state: 'a state & more',
    });
    const arrival = await logOut(person, gatehouse, Object.fromEntries(url.searchParams));
    assert.equal(arrival.url, `${BYE}?${new URLSearchParams({ state: 'a state & more' })}`);
    assert.equal(await isLoggedIn(person), false);
  });

  it('leads back without a state where none was sent (oidcc-rp-initiated-logout-no-state)', async () => {
    const { person, tokens } = await signIn(gatehouse, client);
    const hint = { id_token_hint: tokens.id_token! };
    const arrival = await logOut(person, gatehouse, { ...hint, post_logout_redirect_uri: BYE });
    assert.equal(arrival.url, BYE);
    assert.equal(await isLoggedIn(person), false);
  });

  it('leads back to the one that client_id names, as well', async () => {
    const { person } = await signIn(gatehouse, client);
    const arrival = await logOut(person, gatehouse, {
      client_id: client.client_id,
      post_logout_redirect_uri: BYE,
      state: 's',
    });
    assert.equal(arrival.url, `${BYE}?state=s`);
  });

  it('keeps the query that was registered', async () => {
    const { person } = await signIn(gatehouse, client);
    const uri = `${BYE}?from=here`;
    const arrival = await logOut(person, gatehouse, {
      client_id: client.client_id,
      post_logout_redirect_uri: uri,
      state: 's',
    });
    assert.equal(arrival.url, `${uri}&state=s`);
  });

  it('takes the hints that it makes no use of', async () => {
    const { person, tokens } = await signIn(gatehouse, client);
    const arrival = await logOut(person, gatehouse, {
      id_token_hint: tokens.id_token!,
      client_id: client.client_id,
      post_logout_redirect_uri: BYE,
      logout_hint: 'demo@example.com',
      ui_locales: 'de fr',
      unknown: 'ignored',
    });
    assert.equal(arrival.url, BYE);
  });

  const leadsNowhere: Readonly<Record<string, (tokens: SignedIn['tokens']) => Record<string, string>>> = {
    'without any parameter (oidcc-rp-initiated-logout-no-params)': () => ({}),
    'with a state alone (oidcc-rp-initiated-logout-only-state)': () => ({ state: 'alone' }),
    'without a post_logout_redirect_uri (oidcc-rp-initiated-logout-no-post-logout-redirect-uri)': ({ id_token }) => ({
      id_token_hint: id_token!,
      state: 's',
    }),
    'without a word of who asks (oidcc-rp-initiated-logout-no-id-token-hint)': () => ({
      post_logout_redirect_uri: BYE,
      state: 's',
    }),
  };
  for (const [request, parameters] of Object.entries(leadsNowhere)) {
    it(`${request} ends on our own page`, async () => {
      const { person, tokens } = await signIn(gatehouse, client);
      const { url, page } = await logOut(person, gatehouse, parameters(tokens));
      assert.equal(url.replace(/\?client_id=[^&]*$/, ''), `${gatehouse.issuer}/logout/success`);
      assert.match(page, /You are logged out/);
      assert.equal(await isLoggedIn(person), false);
    });
  }

  const refusedUris: readonly [uri: string, name?: string][] = [
    ['https://evil.example/', '(oidcc-rp-initiated-logout-bad-post-logout-redirect-uri) (OUT-01) (CVE-2024-39694)'],
    [`${BYE}?foo=bar`, '(oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri)'],
    [`${BYE}/`],
    [`${BYE}/../bye`],
    [`${BYE}#fragment`],
    ['https://app.example.com.evil.example/bye'],
    ['https://app.example.com@evil.example/bye'],
    ['https://APP.example.com/bye'],
    ['https://app.example.com:443/bye'],
    ['https://app.example.com%2Fbye'],
    ['//evil.example/bye'],
    ['/\\evil.example'],
    ['/bye'],
    ['javascript:alert(1)'],
    [`${BYE}\r\nSet-Cookie: a=b`],
    ['https://app.example.com/callback'],
  ];
  for (const [uri, name = ''] of refusedUris) {
    it(`asks, and leads nowhere, when asked to lead to ${JSON.stringify(uri)} ${name} (FIELD-D7)`, async () => {
      const { person, tokens } = await signIn(gatehouse, client);
      const sent = person.cookieHeaders.length;
      const request = { id_token_hint: tokens.id_token!, post_logout_redirect_uri: uri, state: 's' };
      const { response, page } = await person.open(`${gatehouse.issuer}/logout?${new URLSearchParams(request)}`);
      assert.equal(response.status, 200);
      assert.match(page, /Do you want to log out here, too\?/);
      assert.match(page, /the address that the application asked for is not registered here/);
      assert.doesNotMatch(page, /evil\.example/);
      assert.equal(await isLoggedIn(person), true, 'nothing happens by looking');
      const arrival = await logOut(person, gatehouse, request);
      assert.equal(arrival.url, `${gatehouse.issuer}/logout/success?client_id=${client.client_id}`);
      assert.doesNotMatch(arrival.page, /evil\.example/);
      assert.ok(!person.cookieHeaders.slice(sent).some((header) => header.startsWith('a=b')));
      assert.equal(await isLoggedIn(person), false);
    });
  }

  it('of the application alone works with an address that is not registered, too (FIELD-D7)', async () => {
    const { person, tokens } = await signIn(gatehouse, client);
    const request = { id_token_hint: tokens.id_token!, post_logout_redirect_uri: 'https://evil.example/' };
    const { url, page } = await logOut(person, gatehouse, request, 'stay');
    assert.equal(url, `${gatehouse.issuer}/logout/success?client_id=${client.client_id}`);
    assert.match(page, /You are logged out of/);
    assert.match((await person.open(`${gatehouse.issuer}/account`)).page, /demo@example\.com/);
  });

  it('says to a person who is not logged in that the address is not used (FIELD-D7)', async () => {
    for (const client_id of [client.client_id, undefined]) {
      const query = new URLSearchParams({
        ...(client_id && { client_id }),
        post_logout_redirect_uri: 'https://evil.example/',
      });
      const { url, response, page } = await new Person(gatehouse).open(`${gatehouse.issuer}/logout?${query}`);
      assert.deepEqual([url, response.status], [`${gatehouse.issuer}/logout?${query}`, 200]);
      assert.match(page, /You are logged out.*the address that the application asked for is not registered here/s);
      assert.doesNotMatch(page, /evil\.example/);
    }
  });

  it('says that it stays here where the request does not name the client (FIELD-D7)', async () => {
    const { person } = await signIn(gatehouse, client);
    const { page } = await person.open(
      `${gatehouse.issuer}/logout?${new URLSearchParams({ post_logout_redirect_uri: BYE })}`,
    );
    assert.match(page, /the address that the application asked for is not registered here/);
    assert.doesNotMatch((await person.open(`${gatehouse.issuer}/logout`)).page, /is not registered here/);
  });

  const hints: Readonly<Record<string, (signedIn: SignedIn) => string | Promise<string>>> = {
    'is no token at all (oidcc-rp-initiated-logout-bad-id-token-hint)': () => 'not-a-token',
    'was modified (oidcc-rp-initiated-logout-modified-id-token-hint)': ({ tokens }) => {
      const [header, , signature] = tokens.id_token!.split('.');
      const payload = Buffer.from(JSON.stringify({ ...decodeJwt(tokens.id_token!), sub: 'another' })).toString(
        'base64url',
      );
      return `${header}.${payload}.${signature}`;
    },
    'a stranger signed (OUT-03)': async ({ tokens }) => {
      const { privateKey } = await generateKeyPair('RS256');
      return new SignJWT(decodeJwt(tokens.id_token!))
        .setProtectedHeader({ alg: 'RS256', kid: String(decodeProtectedHeader(tokens.id_token!).kid) })
        .sign(privateKey);
    },
    'has no signature': ({ tokens }) => {
      const header = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
      return `${header}.${tokens.id_token!.split('.')[1]}.`;
    },
    'is signed with the client’s own secret': ({ tokens }) =>
      new SignJWT(decodeJwt(tokens.id_token!))
        .setProtectedHeader({ alg: 'HS256' })
        .sign(Buffer.from(client.client_secret)),
    'is an access token': ({ tokens }) => tokens.access_token,
    'is for a client that there is not': ({ tokens }) => {
      const [header, , signature] = tokens.id_token!.split('.');
      const payload = { ...decodeJwt(tokens.id_token!), aud: ['__proto__', { toString: 1 }] };
      return `${header}.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.${signature}`;
    },
  };
  for (const [flaw, hint] of Object.entries(hints)) {
    it(`refuses an id_token_hint that ${flaw}`, async () => {
      const signedIn = await signIn(gatehouse, client);
      await assertRefused(signedIn.person, {
        id_token_hint: await hint(signedIn),
        post_logout_redirect_uri: BYE,
        state: 's',
      });
      assert.equal(await isLoggedIn(signedIn.person), true);
    });
  }

  it('refuses a client_id that the ID token is not for', async () => {
    const other = await registerApplication(gatehouse, { post_logout_redirect_uris: ['https://evil.example/'] });
    const { person, tokens } = await signIn(gatehouse, client);
    await assertRefused(person, {
      id_token_hint: tokens.id_token!,
      client_id: other.client_id,
      post_logout_redirect_uri: 'https://evil.example/',
    });
  });

  it('refuses parameters that come twice', async () => {
    const { person } = await signIn(gatehouse, client);
    const query = new URLSearchParams({ client_id: client.client_id, post_logout_redirect_uri: BYE });
    query.append('post_logout_redirect_uri', 'https://evil.example/');
    const { response } = await person.open(`${gatehouse.issuer}/logout?${query}`);
    assert.equal(response.status, 400);
  });

  it('carries a state as it came, line breaks and all, and into no header', async () => {
    const { person } = await signIn(gatehouse, client);
    const state = 'a\r\nSet-Cookie: evil=1\r\n\r\n<script>alert(1)</script>';
    const arrival = await logOut(person, gatehouse, {
      client_id: client.client_id,
      post_logout_redirect_uri: BYE,
      state,
    });
    assert.equal(new URL(arrival.url).searchParams.get('state'), state);
    assert.ok(!person.cookieHeaders.some((header) => header.startsWith('evil=')));
  });

  it('refuses a state that can’t be kept, and breaks nothing', async () => {
    const { person } = await signIn(gatehouse, client);
    await assertRefused(person, { client_id: client.client_id, post_logout_redirect_uri: BYE, state: 'a\0b' });
    assert.equal(await isLoggedIn(person), true);
  });

  it('does nothing without the token of its own page (OUT-05)', async () => {
    const { person } = await signIn(gatehouse, client);
    const unasked = await person.submit(`${gatehouse.issuer}/logout/confirm`, { logout: 'yes' });
    assert.equal(unasked.response.status, 400, 'before there was a page');
    const { page } = await person.open(`${gatehouse.issuer}/logout`);
    for (const xsrf of [undefined, '', 'guessed', await xsrfOfSomeoneElse()]) {
      const { response } = await person.submit(`${gatehouse.issuer}/logout/confirm`, {
        logout: 'yes',
        ...(xsrf !== undefined && { xsrf }),
      });
      assert.equal(response.status, 400);
    }
    assert.equal(await isLoggedIn(person), true);
    // and with it, it does
    await person.submit(`${gatehouse.issuer}/logout/confirm`, { logout: 'yes', xsrf: xsrfIn(page) });
    assert.equal(await isLoggedIn(person), false);
  });

  async function xsrfOfSomeoneElse(): Promise<string> {
    const { person } = await signIn(gatehouse, client);
    return xsrfIn((await person.open(`${gatehouse.issuer}/logout`)).page);
  }

  /** A page of ours that says so, and no way out. */
  async function assertRefused(person: Person, parameters: Readonly<Record<string, string>>): Promise<Arrival> {
    const arrival = await person.open(`${gatehouse.issuer}/logout?${new URLSearchParams(parameters)}`, {
      headers: { accept: 'text/html' },
    });
    assert.equal(arrival.response.status, 400);
    assert.equal(arrival.response.headers.get('location'), null);
    assert.match(arrival.page, /(?:can’t be completed|is not known here)/);
    assert.doesNotMatch(arrival.page, /evil\.example/);
    return arrival;
  }

  async function isLoggedIn(person: Person): Promise<boolean> {
    const { url } = await person.open(
      `${gatehouse.issuer}/authorize?${authorizationRequest(client, { prompt: 'none' })}`,
    );
    const answer = new URL(url).searchParams;
    assert.ok(answer.has('code') || answer.get('error') === 'login_required', url);
    return answer.has('code');
  }
});

function xsrfIn(page: string): string {
  return /name="xsrf" value="([^"]+)"/.exec(page)?.[1] ?? assert.fail(page);
}
