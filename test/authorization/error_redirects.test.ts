import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import type { Page } from 'playwright-core';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import { assertAccessible, assertFits, logIn, setScene, textOf, type Scene } from '../support/person/pages.ts';
import { Person } from '../support/person/person.ts';
import { register, type Json } from '../support/client/registration.ts';

const EVIL = 'https://bank-login.example/start';

/** An answer to a browser, and where its button leads. */
interface Answer {
  readonly status: number;
  readonly location: string | null;
  readonly text: string;
  readonly link: URL | undefined;
  readonly fields: Readonly<Record<string, string>>;
}

const unescaped = (html: string): string =>
  html.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&#39;', "'");

async function read(response: Response): Promise<Answer> {
  const page = await response.text();
  const main = /<main.*<\/main>/s.exec(page)?.[0] ?? '';
  const action = /<(?:a class="button full" href|form method="post" action)="([^"]*)"/.exec(main)?.[1];
  const inputs = [...main.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)">/g)];
  assert.equal(/<script/.test(page), false, 'nothing goes on by itself');
  return {
    status: response.status,
    location: response.headers.get('location'),
    text: main.replaceAll(/<[^>]*>|\s+/g, ' ').replaceAll(/ +/g, ' '),
    link: action === undefined ? undefined : new URL(unescaped(action)),
    fields: Object.fromEntries(inputs.map(([, name = '', value = '']) => [name, unescaped(value)])),
  };
}

describe('an error answer to a client that registered itself', () => {
  let gatehouse: Gatehouse;
  let clientId: string;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_PROFILE: 'mcp' } });
    const metadata = { client_name: 'Your Bank', redirect_uris: [EVIL], token_endpoint_auth_method: 'none' };
    clientId = (await register(gatehouse, metadata)).body.client_id;
  });
  after(() => gatehouse.stop());

  const url = (changed: Readonly<Record<string, string | undefined>>, client_id = clientId): string =>
    `${gatehouse.issuer}/authorize?${authorizationRequest({ client_id }, { redirect_uri: EVIL, ...changed })}`;
  const ask = async (
    changed: Readonly<Record<string, string | undefined>>,
    { client_id = clientId, person = new Person(gatehouse), headers = {} } = {},
  ): Promise<Answer> => read(await person.fetch(url(changed, client_id), { headers }));
  /** A page that names the host, says that the application was not checked, and leads on by a click. */
  const assertAsks = (answer: Answer, what: string): URL => {
    assert.equal(answer.location, null, `${what}: sent to ${answer.location}`);
    assert.equal(answer.status, 400, what);
    assert.match(answer.text, /send you to bank-login. example/, what);
    assert.match(answer.text, /It registered itself: nobody here has checked/, what);
    assert.match(answer.text, /calls itself Your Bank/, what);
    assert.ok(answer.link?.href.startsWith(EVIL), `${what}: ${answer.link}`);
    return answer.link!;
  };

  const FAULTS: readonly (readonly [error: string, changed: Readonly<Record<string, string | undefined>>])[] = [
    ['invalid_scope', { scope: 'openid admin' }],
    ['unsupported_response_type', { response_type: 'none' }],
    ['unsupported_response_mode', { response_mode: 'carrier_pigeon' }],
    ['invalid_request', { code_challenge: undefined }],
    ['invalid_request', { prompt: 'none login' }],
    ['invalid_request', { claims: '{' }],
    ['invalid_request_object', { request: 'eyJhbGciOiJub25lIn0.e30.' }],
    ['invalid_request_uri', { request_uri: 'urn:ietf:params:oauth:request_uri:none' }],
    ['invalid_target', { resource: 'https://unknown.example' }],
    ['login_required', { prompt: 'none' }],
  ];
  for (const [error, changed] of FAULTS) {
    it(`names the host and waits for a click: ${error} for ${JSON.stringify(changed)} (FIELD-B3)`, async () => {
      const link = assertAsks(await ask(changed), error);
      assert.equal(link.searchParams.get('error'), error);
      assert.equal(link.searchParams.get('state'), 'a-state');
      assert.equal(link.searchParams.get('iss'), gatehouse.issuer);
    });
  }

  it('waits in every response mode, and carries what that mode says (FIELD-B3)', async () => {
    const fragment = assertAsks(await ask({ scope: 'openid admin', response_mode: 'fragment' }), 'fragment');
    assert.equal(new URLSearchParams(fragment.hash.slice(1)).get('error'), 'invalid_scope');
    for (const response_mode of ['jwt', 'query.jwt']) {
      const signed = assertAsks(await ask({ scope: 'openid admin', response_mode }), response_mode);
      const claims = signed.searchParams.get('response')!.split('.')[1]!;
      assert.equal((JSON.parse(Buffer.from(claims, 'base64url').toString()) as Json)['error'], 'invalid_scope');
    }
    const inFragment = assertAsks(await ask({ scope: 'openid admin', response_mode: 'fragment.jwt' }), 'fragment.jwt');
    assert.match(inFragment.hash, /^#response=eyJ/);
    const posted = await ask({ scope: 'openid admin', response_mode: 'form_post' });
    assertAsks(posted, 'form_post');
    assert.deepEqual([posted.fields['error'], posted.fields['state']], ['invalid_scope', 'a-state']);
    const signedPost = await ask({ scope: 'openid admin', response_mode: 'form_post.jwt' });
    assertAsks(signedPost, 'form_post.jwt');
    assert.match(signedPost.fields['response']!, /^eyJ/);
  });

  it('waits where the request came by POST, was pushed or was signed (FIELD-B3)', async () => {
    const body = authorizationRequest({ client_id: clientId }, { redirect_uri: EVIL, scope: 'openid admin' });
    const posted = await new Person(gatehouse).open(`${gatehouse.issuer}/authorize`, { method: 'POST', body });
    assert.equal(new URL(posted.url).origin, new URL(gatehouse.issuer).origin);
    assert.match(posted.page, /bank-login\.example/);

    const pushed = await fetch(`${gatehouse.issuer}/par`, {
      method: 'POST',
      body: authorizationRequest({ client_id: clientId }, { redirect_uri: EVIL, prompt: 'none' }),
    });
    const { request_uri } = (await pushed.json()) as { request_uri: string };
    const answer = await read(
      await fetch(`${gatehouse.issuer}/authorize?${new URLSearchParams({ client_id: clientId, request_uri })}`, {
        redirect: 'manual',
      }),
    );
    assert.equal(assertAsks(answer, 'pushed').searchParams.get('error'), 'login_required');

    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const jwk = { ...(await exportJWK(publicKey)), alg: 'ES256', use: 'sig', kid: 'one' };
    const signing = await register(gatehouse, {
      client_name: 'Your Bank',
      redirect_uris: [EVIL],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [jwk] },
      request_object_signing_alg: 'ES256',
    });
    const { client_id } = signing.body;
    const claims = Object.fromEntries(authorizationRequest({ client_id }, { redirect_uri: EVIL, prompt: 'none' }));
    const request = await new SignJWT({ ...claims, jti: crypto.randomUUID() })
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .setIssuer(client_id)
      .setAudience(gatehouse.issuer)
      .setIssuedAt()
      .setNotBefore('0s')
      .setExpirationTime('60s')
      .sign(privateKey);
    const link = assertAsks(await ask({ request }, { client_id }), 'signed');
    assert.equal(link.searchParams.get('error'), 'login_required');
  });

  it('goes at once to a silent request of a person who agreed before, or in a frame (FIELD-B3)', async () => {
    const person = new Person(gatehouse);
    await person.finish(await person.open(`${gatehouse.issuer}/account/login`));
    assertAsks(await ask({ prompt: 'none' }, { person }), 'a person who never agreed');
    const frame = await ask({ prompt: 'none' }, { headers: { 'sec-fetch-dest': 'iframe' } });
    assert.equal(new URL(frame.location!).searchParams.get('error'), 'login_required');
    assertAsks(await ask({ scope: 'x' }, { headers: { 'sec-fetch-dest': 'iframe' } }), 'a frame that is not silent');

    await person.authorize(url({}));
    const silent = await ask({ prompt: 'none' }, { person });
    assert.equal(new URL(silent.location!).searchParams.get('error'), 'consent_required');
    assertAsks(await ask({ scope: 'openid admin' }, { person }), 'a faulty request of a person who agreed before');
  });

  it('waits where the person cancels the login or denies, and not after consent (FIELD-B3)', async () => {
    const person = new Person(gatehouse);
    const login = await person.open(url({}));
    const cancelled = await person.fetch(new URL(`${new URL(login.url).pathname}/cancel`, gatehouse.issuer), {
      method: 'POST',
    });
    const ended = await read(await person.fetch(new URL(cancelled.headers.get('location')!, gatehouse.issuer)));
    assert.equal(assertAsks(ended, 'cancelled').searchParams.get('error'), 'access_denied');
    assert.match(ended.text, /Nothing was allowed/);

    const denied = await new Person(gatehouse, { decision: 'deny' }).walk(url({}));
    assert.equal(new URL(denied.url).origin, new URL(gatehouse.issuer).origin);
    assert.match(denied.page, /Nothing was allowed.*bank-login\.example/s);

    const { searchParams } = await new Person(gatehouse).authorize(url({}));
    assert.notEqual(searchParams.get('code'), null);
  });

  it('goes at once to a client that an admin made, or whose redirect URIs an admin set (FIELD-B3)', async () => {
    const made = await gatehouse.adminCall('POST', '/clients', {
      redirect_uris: [EVIL],
      grant_types: ['authorization_code'],
      token_endpoint_auth_method: 'none',
    });
    const { client_id } = (await made.json()) as { client_id: string };
    const vetted = await ask({ prompt: 'none' }, { client_id });
    assert.equal(new URL(vetted.location!).searchParams.get('error'), 'login_required');

    const own = (await register(gatehouse, { redirect_uris: [EVIL], token_endpoint_auth_method: 'none' })).body;
    const set = await gatehouse.adminCall('PATCH', `/clients/${own.client_id}`, { redirect_uris: [EVIL] });
    assert.equal(set.status, 200);
    const checked = await ask({ prompt: 'none' }, { client_id: own.client_id });
    assert.equal(new URL(checked.location!).searchParams.get('error'), 'login_required');
  });

  it('waits before it opens a program on the person’s own device, too (FIELD-B3)', async () => {
    for (const [redirect_uri, says] of [
      ['http://127.0.0.1:7777/cb', /a program on this computer \(127\.0\.0\.1:7777\)/],
      ['com.example.notes:/cb', /an app on this device \(com\.example\.notes\)/],
    ] as const) {
      const metadata = { redirect_uris: [redirect_uri], token_endpoint_auth_method: 'none' };
      const { client_id } = (await register(gatehouse, metadata)).body;
      const answer = await ask({ redirect_uri, prompt: 'none' }, { client_id });
      assert.equal(answer.location, null);
      assert.match(answer.text, says);
      assert.equal(answer.link?.protocol, new URL(redirect_uri).protocol);
    }
  });

  it('shows what it was sent as text, even if it is markup (FIELD-B3)', async () => {
    const hostile = `"><img src=x onerror=alert(1)>'&amp;`;
    const metadata = { client_name: hostile, redirect_uris: [EVIL], token_endpoint_auth_method: 'none' };
    const { client_id } = (await register(gatehouse, metadata)).body;
    for (const response_mode of ['query', 'form_post']) {
      const response = await fetch(url({ state: hostile, prompt: 'none', response_mode }, client_id));
      const page = await response.text();
      assert.equal(page.includes('<img'), false);
      assert.match(response.headers.get('content-security-policy')!, /script-src$/);
      assert.equal(response.headers.get('cache-control'), 'no-store');
    }
  });
});

describe('an error answer to a client that is known by a URL', () => {
  let gatehouse: Gatehouse;
  let outside: Outside;
  after(async () => {
    await gatehouse.stop();
    closeOutside();
  });

  it('names the host and waits for a click (FIELD-B3)', async () => {
    outside = await startOutside((_request, response) => {
      const document = { client_id: `https://${NAME}:${outside.port}/app.json`, token_endpoint_auth_method: 'none' };
      response
        .setHeader('content-type', 'application/json')
        .end(JSON.stringify({ ...document, redirect_uris: [`https://${NAME}/callback`] }));
    });
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_PROFILE: 'mcp', GATEHOUSE_EGRESS_ALLOW: `https://${NAME}:${outside.port}` },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    });
    const client_id = `https://${NAME}:${outside.port}/app.json`;
    const query = authorizationRequest({ client_id }, { redirect_uri: `https://${NAME}/callback`, prompt: 'none' });
    const answer = await read(await fetch(`${gatehouse.issuer}/authorize?${query}`, { redirect: 'manual' }));
    assert.deepEqual([answer.status, answer.location], [400, null]);
    assert.match(answer.text, new RegExp(`It is known by its address, ${NAME}`));
    assert.equal(answer.link?.host, NAME);
  });
});

describe('a logout that a client asks for which registered itself', () => {
  let gatehouse: Gatehouse;
  let clientId: string;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_PROFILE: 'mcp' } });
    const metadata = {
      client_name: 'Your Bank',
      redirect_uris: [EVIL],
      post_logout_redirect_uris: [EVIL],
      token_endpoint_auth_method: 'none',
    };
    clientId = (await register(gatehouse, metadata)).body.client_id;
  });
  after(() => gatehouse.stop());

  const logoutUrl = (client_id: string): string =>
    `${gatehouse.issuer}/logout?${new URLSearchParams({ client_id, post_logout_redirect_uri: EVIL, state: 's' })}`;
  /** Sends the page that the library makes for a browser without a session, as its script does. */
  const logOut = async (client_id: string, person: Person): Promise<Response> => {
    const { page } = await person.open(logoutUrl(client_id));
    const xsrf = /name="xsrf" value="([^"]*)"/.exec(page)![1]!;
    return person.fetch(`${gatehouse.issuer}/logout/confirm`, {
      method: 'POST',
      body: new URLSearchParams({ xsrf, logout: 'yes' }),
    });
  };

  it('leads a person without a session on by a click alone (FIELD-B3)', async () => {
    const answer = await read(await logOut(clientId, new Person(gatehouse)));
    assert.deepEqual([answer.status, answer.location], [200, null]);
    assert.match(answer.text, /You are logged out.*send you to bank-login. example.*It registered itself/);
    assert.equal(answer.link?.href, `${EVIL}?state=s`);
  });

  it('names the destination to a person who is asked whether to log out (FIELD-B3)', async () => {
    const person = new Person(gatehouse);
    await person.finish(await person.open(`${gatehouse.issuer}/account/login`));
    const { page } = await person.open(logoutUrl(clientId));
    assert.match(page, /bank-login\.<wbr>example.*It registered itself/s);
    const answer = await logOut(clientId, person);
    assert.equal(answer.headers.get('location'), `${EVIL}?state=s`);
  });

  it('leads on at once for a client that an admin made (FIELD-B3)', async () => {
    const made = await gatehouse.adminCall('POST', '/clients', {
      redirect_uris: [EVIL],
      post_logout_redirect_uris: [EVIL],
      grant_types: ['authorization_code'],
      token_endpoint_auth_method: 'none',
    });
    const { client_id } = (await made.json()) as { client_id: string };
    const answer = await logOut(client_id, new Person(gatehouse));
    assert.equal(answer.headers.get('location'), `${EVIL}?state=s`);
  });
});

describe('the page before a redirect to a client that registered itself', () => {
  let scene: Scene;
  let clientId: string;
  before(async () => {
    scene = await setScene({ environment: { GATEHOUSE_PROFILE: 'mcp' } });
    const metadata = {
      client_name: 'Your Bank',
      client_uri: 'https://bank-login.example/',
      redirect_uris: [scene.application.redirectUri],
      token_endpoint_auth_method: 'none',
    };
    clientId = (await register(scene.gatehouse, metadata)).body.client_id;
  });
  after(() => scene.stop());

  const open = async (page: Page, parameters: Readonly<Record<string, string>>): Promise<void> => {
    await page.goto(scene.application.authorizationUrl({ client_id: clientId, ...parameters }));
  };

  for (const response_mode of ['query', 'form_post']) {
    it(`works by keyboard and without JavaScript in mode ${response_mode} (FIELD-B3)`, async () => {
      const page = await scene.visit({ javaScriptEnabled: false });
      await open(page, { prompt: 'none', response_mode });
      await page.keyboard.press('Tab');
      const destination = `a program on this computer (${new URL(scene.application.origin).host})`;
      const focused = page.locator(':focus');
      assert.equal((await focused.textContent())!.trim(), `Continue to ${destination}`);
      await page.keyboard.press('Enter');
      await page.getByText('Back at the application').waitFor();
    });
  }

  it('fits a narrow screen, and axe finds nothing, in every form (FIELD-B3)', async () => {
    const page = await scene.visit({ viewport: { width: 320, height: 640 } });
    for (const parameters of [
      { prompt: 'none' },
      { scope: 'openid admin' },
      { prompt: 'none', response_mode: 'form_post' },
    ]) {
      await open(page, parameters);
      assert.match(await textOf(page), /calls itself Your Bank/);
      await assertFits(page);
      await assertAccessible(page);
    }
  });

  it('never stands in a hidden frame in which an application asks silently (FIELD-B3)', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.origin);
    const silent = scene.application.authorizationUrl({ client_id: clientId, prompt: 'none' });
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('iframe'), { hidden: true, src: ${JSON.stringify(silent)} }))`,
    );
    await page.waitForRequest((request) => request.url().startsWith(`${scene.application.redirectUri}?error=`));
  });

  it('names the hosts of the links of such a client at consent (FIELD-B3)', async () => {
    const page = await scene.visit();
    await open(page, {});
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('heading', { name: 'Allow Your Bank?' }).waitFor();
    assert.match(await textOf(page), /Website \(bank-login\.example\)/);
    await assertAccessible(page);
  });
});
