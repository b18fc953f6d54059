import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import type { User } from 'oidc-client-ts';
import type { Page } from 'playwright-core';
import { finishSignIn, setScene, type Scene } from '../support/person/pages.ts';
import {
  inApplication,
  serveSinglePageApplication,
  type SinglePageApplication,
} from '../support/client/single_page_application.ts';

describe('oidc-client-ts, in a browser, on an origin of its own', () => {
  let scene: Scene;
  let spa: SinglePageApplication;
  let settings: Readonly<Record<string, unknown>>;
  before(async () => {
    scene = await setScene();
    spa = await serveSinglePageApplication();
    const registered = await scene.gatehouse.adminCall('POST', '/clients', {
      client_name: 'Notes in a browser',
      redirect_uris: [spa.callback],
      post_logout_redirect_uris: [spa.farewell],
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'none',
      resources: [{ resource: scene.gatehouse.demo.resource, scopes: ['notes:read'] }],
    });
    settings = {
      authority: scene.gatehouse.issuer,
      client_id: ((await registered.json()) as { client_id: string }).client_id,
      redirect_uri: spa.callback,
      post_logout_redirect_uri: spa.farewell,
      scope: 'openid email',
      loadUserInfo: true,
      automaticSilentRenew: false,
    };
  });
  after(async () => {
    await spa.stop();
    await scene.stop();
  });

  /** Off to the server, through login and consent, and back: the user that the library has then. */
  const logIn = async (page: Page, more: object = {}): Promise<User> => {
    const its = { ...settings, ...more };
    await page.goto(spa.origin);
    const away = page.waitForURL(`${scene.gatehouse.issuer}/**`);
    await inApplication(page, its, 'void manager.signinRedirect()');
    await away;
    await finishSignIn(page, { ...scene, application: { ...scene.application, redirectUri: spa.callback } });
    return inApplication<User>(page, its, 'manager.signinCallback()');
  };

  it('logs a person in by redirect with PKCE, and gets what userinfo says', async () => {
    const page = await scene.visit();
    const user = await logIn(page);
    assert.equal(user.profile['email'], scene.gatehouse.account.email);
    assert.equal(user.profile['iss'], scene.gatehouse.issuer);
    assert.deepEqual([user.scope, user.token_type], ['openid email', 'Bearer']);
    assert.ok(user.expires_at! > Date.now() / 1_000);
    assert.ok(user.refresh_token);
  });

  it('renews silently with its refresh token: no frame, no page, and rotated each time', async () => {
    const page = await scene.visit();
    const first = await logIn(page);
    const second = await inApplication<User>(page, settings, 'manager.signinSilent()');
    const third = await inApplication<User>(page, settings, 'manager.signinSilent()');
    assert.equal(new Set([first, second, third].map((user) => user.refresh_token)).size, 3);
    assert.equal(new Set([first, second, third].map((user) => user.access_token)).size, 3);
    assert.equal(third.profile['sub'], first.profile['sub']);
    assert.equal(page.frames().length, 1);
  });

  it('gets a token for an API, and is told no scope that it did not get', async () => {
    const page = await scene.visit();
    const user = await logIn(page, {
      scope: 'openid notes:read',
      resource: scene.gatehouse.demo.resource,
      loadUserInfo: false,
    });
    assert.equal(decodeJwt(user.access_token).aud, scene.gatehouse.demo.resource);
    assert.equal(user.scope, 'notes:read');
  });

  it('gets one token for an API and userinfo, and reads userinfo with it (FIELD-C1)', async () => {
    const page = await scene.visit();
    const { issuer, demo, account } = scene.gatehouse;
    const user = await logIn(page, { scope: 'openid email notes:read' });
    assert.deepEqual(decodeJwt(user.access_token).aud, [demo.resource, `${issuer}/userinfo`]);
    assert.deepEqual([user.scope, user.profile['email']], ['openid email notes:read', account.email]);
  });

  it('binds its tokens to a key of the browser (DPoP), and renews them so', async () => {
    const page = await scene.visit();
    // it asks userinfo with the word Bearer, which a bound token is not
    const dpop = { dpop: { bind_authorization_code: true }, loadUserInfo: false };
    const user = await logIn(page, dpop);
    assert.equal(user.token_type, 'DPoP');
    const renewed = await inApplication<User>(page, { ...settings, ...dpop }, 'manager.signinSilent()');
    assert.equal(renewed.token_type, 'DPoP');
    assert.notEqual(renewed.access_token, user.access_token);
  });

  it('revokes its tokens: the answer is one that it takes', async () => {
    const page = await scene.visit();
    const user = await logIn(page);
    await inApplication(page, settings, `manager.revokeTokens(['access_token', 'refresh_token'])`);
    const userinfo = await fetch(`${scene.gatehouse.issuer}/userinfo`, {
      headers: { authorization: `Bearer ${user.access_token}` },
    });
    await userinfo.body?.cancel();
    assert.equal(userinfo.status, 401);
    const left = await inApplication<User>(page, settings, 'manager.getUser()');
    assert.equal(left.refresh_token ?? null, null);
  });

  it('logs the person out, and is back at its own farewell', async () => {
    const page = await scene.visit();
    await logIn(page);
    const away = page.waitForURL(`${scene.gatehouse.issuer}/**`);
    await inApplication(page, settings, 'void manager.signoutRedirect()');
    await away;
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.waitForURL((url) => url.href.startsWith(spa.farewell));
    assert.equal(await inApplication(page, settings, 'manager.getUser()'), null);
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.equal(await page.getByRole('heading', { name: 'Your account' }).count(), 0);
  });

  it('at an origin that no public client registered reads nothing, not even why', async () => {
    const stranger = await serveSinglePageApplication();
    try {
      const page = await scene.visit();
      const user = await logIn(page);
      await page.goto(stranger.origin);
      const blocked = (code: string) =>
        page.evaluate<string>(`(${code}).then((answer) => 'read ' + answer.status, (error) => error.name)`);
      const { issuer } = scene.gatehouse;
      const body = `new URLSearchParams({ grant_type: 'refresh_token', client_id: ${JSON.stringify(settings['client_id'])}, refresh_token: ${JSON.stringify(user.refresh_token)} })`;
      const bearer = JSON.stringify({ headers: { authorization: `Bearer ${user.access_token}` } });
      for (const code of [
        `fetch('${issuer}/token', { method: 'POST', body: ${body} })`,
        `fetch('${issuer}/revoke', { method: 'POST', body: ${body} })`,
        `fetch('${issuer}/userinfo', ${bearer})`,
        `fetch('${issuer}/admin/v1/openapi.json', ${bearer})`,
      ]) {
        assert.equal(await blocked(code), 'TypeError', code);
      }
      assert.equal(await blocked(`fetch('${issuer}/jwks')`), 'read 200');
    } finally {
      await stranger.stop();
    }
  });
});
