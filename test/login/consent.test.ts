import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startApplication } from '../support/client/application.ts';
import { personWithApp } from '../support/person/authenticator.ts';
import { assertAccessible, logIn, setScene, signIn, textOf, type Scene } from '../support/person/pages.ts';

describe('consent', () => {
  let scene: Scene;
  let both: Readonly<Record<string, string>>;
  before(async () => {
    scene = await setScene();
    both = {
      scope: 'openid email offline_access notes:read notes:write',
      resource: scene.gatehouse.demo.resource,
      prompt: 'consent',
    };
  });
  after(() => scene.stop());

  it('says who asks, for what, on whose behalf, and where it leads', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl(both));
    await logIn(page, scene.gatehouse.account);
    const text = await textOf(page);
    for (const said of [
      'Allow Notes & Co?',
      'demo@example.com',
      'Read your notes',
      'Write and delete your notes',
      'See your e-mail address',
      'Stay connected',
      new URL(scene.application.origin).host,
    ]) {
      assert.ok(text.includes(said), said);
    }
    const links = await page
      .locator('.links a')
      .evaluateAll((all) => all.map((a) => [a.getAttribute('href'), a.getAttribute('rel')]));
    assert.deepEqual(links, [
      ['https://notes.example', 'noopener noreferrer'],
      ['https://notes.example/privacy', 'noopener noreferrer'],
      ['https://notes.example/terms', 'noopener noreferrer'],
    ]);
    await assertAccessible(page);
  });

  it('says that the API can read the data too, where one token is for both (FIELD-C1)', async (t) => {
    const application = await startApplication(scene.gatehouse);
    t.after(() => application.stop());
    const page = await scene.visit();
    const host = new URL(scene.gatehouse.issuer).host;
    await page.goto(application.authorizationUrl({ scope: 'openid email notes:read' }));
    await logIn(page, scene.gatehouse.account);
    const text = await textOf(page);
    assert.ok(text.includes(`Your account at ${host}, for Notes`), text);
    assert.ok(text.includes('Let Notes see your e-mail address too'), text);
    await assertAccessible(page);

    const named = await scene.visit();
    await named.goto(
      application.authorizationUrl({ scope: 'openid email notes:read', resource: scene.gatehouse.demo.resource }),
    );
    await logIn(named, scene.gatehouse.account);
    assert.doesNotMatch(await textOf(named), /Let Notes/);
  });

  it('is asked for one token for both, though the person allowed each of them before (FIELD-C1)', async (t) => {
    const application = await startApplication(scene.gatehouse);
    t.after(() => application.stop());
    const its = { ...scene, application };
    const page = await scene.visit();
    await signIn(page, its, { scope: 'openid email' });
    await signIn(page, its, { scope: 'openid notes:read', resource: scene.gatehouse.demo.resource });
    await page.goto(application.authorizationUrl({ scope: 'openid email notes:read' }));
    const text = await textOf(page);
    const asked = text.slice(text.indexOf('It asks for'), text.indexOf('You have allowed it before'));
    assert.match(asked, /see your e-mail address too/);
    assert.doesNotMatch(asked, /Read your notes/);
  });

  it('tells reading from writing, and shows what each permission reveals', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl(both));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    const row = (text: string) => page.getByRole('listitem').filter({ hasText: text }).innerText();
    assert.match(await row('See your e-mail address'), /demo@example\.com\s+Read$/);
    assert.match(await row('Read your notes'), /It can look, and change nothing\s+Read$/);
    assert.match(await row('Write and delete your notes'), /Without asking you each time\s+Write$/);
    assert.doesNotMatch(await row('Stay connected'), /Read|Write/);
  });

  it('is decided by another account, if the person says that they are not the one shown', async () => {
    const other = { email: 'not-you@example.com', password: 'a password of another' };
    assert.equal((await scene.gatehouse.adminCall('POST', '/accounts', other)).status, 201);
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl(both));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('link', { name: 'Not you?' }).click();
    await logIn(page, other);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    assert.match(await textOf(page), /You are logged in as not-you@example\.com/);
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(page), /not-you@example\.com/);
  });

  it('is decided by another account with a second factor only after its second step', async () => {
    const { account: other, authenticator } = await personWithApp(scene.gatehouse);
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl(both));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('link', { name: 'Not you?' }).click();
    await logIn(page, other);
    await page.getByRole('heading', { name: 'Second step' }).waitFor();
    const tab = await page.context().newPage();
    await tab.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(tab), new RegExp(scene.gatehouse.account.email));
    await page.getByLabel('Code of your authenticator app').fill(authenticator.code());
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    assert.match(await textOf(page), new RegExp(`You are logged in as ${other.email}`));
  });

  it('tells the application when it is denied, and grants nothing', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl(both));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?**`);
    assert.equal(new URL(page.url()).searchParams.get('error'), 'access_denied');
    assert.equal((await grants()).length, 0);
    const denied = await scene.gatehouse.database
      .selectFrom('audit_events')
      .select('client_id')
      .where('event', '=', 'consent.denied')
      .execute();
    assert.deepEqual(denied, [{ client_id: scene.application.clientId }]);
  });

  it('is remembered only where the person says so, and asked again in the next sign-in otherwise (FIELD-E9)', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    await logIn(page, scene.gatehouse.account);
    assert.equal(await page.getByLabel('Remember this decision').isChecked(), false);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?code=**`);

    const later = await scene.visit();
    await later.goto(scene.application.authorizationUrl());
    await logIn(later, scene.gatehouse.account);
    await later.getByRole('button', { name: 'Allow' }).waitFor();
  });

  it('is remembered for what was allowed, and asked for what is new', async (t) => {
    const application = await startApplication(scene.gatehouse);
    t.after(() => application.stop());
    const read = { scope: 'openid notes:read', resource: scene.gatehouse.demo.resource };
    await signIn(await scene.visit(), { ...scene, application }, read);

    const later = await scene.visit();
    await later.goto(application.authorizationUrl(read));
    await logIn(later, scene.gatehouse.account);
    await later.waitForURL(`${application.redirectUri}?code=**`);

    await later.goto(application.authorizationUrl({ ...read, scope: 'openid notes:read notes:write' }));
    const text = await textOf(later);
    const asked = text.slice(text.indexOf('It asks for'), text.indexOf('You have allowed it before'));
    assert.match(asked, /Write and delete your notes/);
    assert.doesNotMatch(asked, /Read your notes/);
    assert.match(text, /You have allowed it before to .* Read your notes/);
  });

  it('shows what it was given before when the application wants to be confirmed', async () => {
    const page = await scene.visit();
    await signIn(page, scene, { ...both, scope: 'openid notes:read' });
    await page.goto(scene.application.authorizationUrl({ ...both, scope: 'openid notes:read' }));
    assert.match(await textOf(page), /You have allowed it before to .* Read your notes/);
    assert.doesNotMatch(await textOf(page), /It asks for permission/);
  });

  it('grants exactly what the page showed, even if the form says more', async (t) => {
    const application = await startApplication(scene.gatehouse);
    t.after(() => application.stop());
    const page = await scene.visit();
    await page.goto(
      application.authorizationUrl({ scope: 'openid notes:read', resource: scene.gatehouse.demo.resource }),
    );
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    const form = { decision: 'allow', scope: 'openid notes:read notes:write', notes: 'write', remember: 'on' };
    const answer = await page.request.post(`${page.url()}/consent`, { form, maxRedirects: 0 });
    await page.goto(answer.headers()['location']!);
    const { body } = await application.redeem(page.url());
    assert.equal(body['scope'], 'notes:read');
    const [consent] = await scene.gatehouse.database
      .selectFrom('consents')
      .select('scopes')
      .where('client_id', '=', application.clientId)
      .execute();
    assert.deepEqual(consent!.scopes, {
      openid: ['openid'],
      claims: [],
      resources: { 'https://api.example.com': ['notes:read'] },
    });
    const [grant] = await scene.gatehouse.database
      .selectFrom('grants')
      .select('payload')
      .where('client_id', '=', application.clientId)
      .execute();
    assert.deepEqual(grant!.payload['openid'], { scope: 'openid' });
    assert.deepEqual(grant!.payload['resources'], { 'https://api.example.com': 'notes:read' });
    const [given] = await scene.gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'consent.given')
      .where('client_id', '=', application.clientId)
      .execute();
    assert.deepEqual(given!.details, { scopes: ['openid', 'notes:read'], remembered: true });
  });

  it('is not given by a form without a decision', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl(both));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    const earlier = await grants();
    for (const form of [{}, { decision: 'yes' }, { remember: 'on' }]) {
      assert.equal((await page.request.post(`${page.url()}/consent`, { form, maxRedirects: 0 })).status(), 400);
    }
    assert.equal((await grants()).length, earlier.length);
  });

  it('names the program that a scheme of its own leads to', async (t) => {
    const redirect_uri = 'com.example.app:/callback';
    const application = await startApplication(scene.gatehouse, {
      application_type: 'native',
      redirect_uris: [redirect_uri],
      post_logout_redirect_uris: [],
    });
    t.after(() => application.stop());
    const page = await scene.visit();
    await page.goto(application.authorizationUrl({ redirect_uri }));
    await logIn(page, scene.gatehouse.account);
    assert.match(await textOf(page), /an app on this device \(com\.example\.app\)/);
  });

  function grants() {
    return scene.gatehouse.database
      .selectFrom('grants')
      .select('grant_id')
      .where('client_id', '=', scene.application.clientId)
      .execute();
  }
});
