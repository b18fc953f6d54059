import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { ask, pageOf, registerTill } from '../support/client/backchannel.ts';
import { registerApplication, REDIRECT_URI, signIn } from '../support/client/code_flow.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { makePolicy, register } from '../support/client/registration.ts';
import { logOut } from '../support/network/logout_receiver.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { connectDevice, fieldsOf, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

const HOME = 'https://notes.example/';
const LINK = /<a class="button" href="([^"]*)">([^<]*)<\/a>/;

describe('a page on which something is over', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse({ path: '/auth' });
    admin = await Admin.of(gatehouse);
    const metadata = { client_name: 'Notes', client_uri: HOME };
    client = await registerApplication(gatehouse, metadata);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const linkOf = (page: string): readonly [href: string | undefined, text: string | undefined] => {
    const [, href, text] = LINK.exec(page) ?? [];
    return [href, text];
  };
  const ACCOUNT = ['/auth/account', 'Go to your account'];
  const authorizeUrl = (parameters = {}, whose = client): string =>
    `${gatehouse.issuer}/authorize?${authorizationRequest(whose, parameters)}`;
  const opened = async (): Promise<{ person: Person; url: string }> => {
    const person = new Person(gatehouse);
    return { person, url: (await person.open(authorizeUrl())).url };
  };

  it('leads back to the step whose form was sent, when its address is asked for again (FIELD-D4)', async () => {
    const { person, url } = await opened();
    const form = new URLSearchParams({ email: 'nobody@example.com', password: 'not the password' });
    assert.equal((await person.fetch(`${url}/login`, { method: 'POST', body: form })).status, 401);
    const again = await person.open(`${url}/login`);
    assert.deepEqual([again.url, again.response.status], [url, 200]);
    assert.match(again.page, /name="password"/);
    await person.submit(`${url}/login`, gatehouse.account);
  });

  it('leads back to its step for each form of an interaction, and from there to the account (FIELD-D4)', async () => {
    const { person, url } = await opened();
    for (const form of ['login', 'choose', 'consent', 'cancel']) {
      const arrival = await person.open(`${url}/${form}`);
      assert.deepEqual([arrival.url, arrival.response.status], [url, 200], form);
    }
    await person.submit(`${url}/cancel`, {});
    for (const address of [url, `${url}/login`, `${url}/cancel`, `${gatehouse.issuer}/interaction/made-up/consent`]) {
      const over = await person.open(address);
      assert.equal(over.response.status, 400);
      assert.match(over.page, /This login can’t go on/);
      assert.deepEqual(linkOf(over.page), ACCOUNT, address);
    }
  });

  it('leads back to the account page for its forms, and to the logout for its own (FIELD-D4)', async () => {
    const { person } = await signIn(gatehouse, client);
    for (const form of [
      'devices/end',
      'devices/end-others',
      'devices/end-all',
      'applications/take-back',
      'data/download',
      'data/delete',
    ]) {
      const { url, response } = await person.open(`${gatehouse.issuer}/account/${form}`);
      assert.deepEqual([url, response.status], [`${gatehouse.issuer}/account/${form.split('/')[0]}`, 200]);
    }
    const { url, page } = await person.open(`${gatehouse.issuer}/logout/confirm`);
    assert.equal(url, `${gatehouse.issuer}/logout`);
    assert.match(page, /Log out\?/);
  });

  it('has a link back to the form where the form was not filled in as it should be (FIELD-D4)', async () => {
    const { person, url } = await opened();
    const arrival = await person.submit(`${url}/login`, gatehouse.account);
    const { response, page } = await person.submit(`${arrival.url}/consent`, { decision: 'perhaps' });
    assert.equal(response.status, 400);
    assert.deepEqual(linkOf(page), [new URL(arrival.url).pathname, 'Go back']);
    assert.match((await person.open(new URL(linkOf(page)[0]!, url))).page, /Allow Notes\?/);
  });

  it('keeps the browser here, whatever address it is asked for (FIELD-D4)', async () => {
    for (const uid of [
      '..%2f..%2f%2fevil.example',
      '%0d%0aset-cookie:a=b',
      '%5cevil.example',
      'https:%2f%2fevil.example',
    ]) {
      const response = await fetch(`${gatehouse.issuer}/interaction/${uid}/login`, { redirect: 'manual' });
      await response.body?.cancel();
      const location = new URL(response.headers.get('location') ?? '', gatehouse.issuer);
      assert.equal(location.origin, new URL(gatehouse.issuer).origin, uid);
      assert.equal(response.headers.get('set-cookie')?.includes('a=b') ?? false, false);
    }
  });

  it('leads to the account after a sign-in has expired (FIELD-D8)', async () => {
    const { person, url } = await opened();
    moveClock(3_700);
    const { response, page } = await person.open(url);
    assert.equal(response.status, 400);
    assert.deepEqual(linkOf(page), ACCOUNT);
  });

  it('leads to the website of an application that an admin has registered (FIELD-D8)', async () => {
    const { person } = await signIn(gatehouse, client);
    const left = await logOut(person, gatehouse, { client_id: client.client_id }, 'stay');
    assert.deepEqual(linkOf(left.page), [HOME, 'Go to Notes']);
    const out = await logOut(person, gatehouse, { client_id: client.client_id });
    assert.match(out.page, /You are logged out/);
    assert.deepEqual(linkOf(out.page), [HOME, 'Go to Notes']);
    const wrong = await person.open(authorizeUrl({ redirect_uri: 'https://evil.example/' }));
    assert.equal(wrong.response.status, 400);
    assert.deepEqual(linkOf(wrong.page), [HOME, 'Go to Notes']);
  });

  it('never leads to the website of an application that registered itself, unless an admin has set it (FIELD-D8)', async () => {
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    const evil = { client_name: 'Your Bank', client_uri: 'https://evil.example/', redirect_uris: [REDIRECT_URI] };
    const { client_id } = (await register(gatehouse, evil)).body;
    const pages = async (): Promise<readonly string[]> => {
      const { page } = await new Person(gatehouse).open(
        authorizeUrl({ client_id, redirect_uri: 'https://x.example/' }),
      );
      const { person } = await signIn(gatehouse, client);
      return [
        page,
        (await logOut(person, gatehouse, { client_id }, 'stay')).page,
        (await logOut(person, gatehouse, { client_id })).page,
      ];
    };
    for (const page of await pages()) {
      assert.doesNotMatch(page, /evil\.example/);
      assert.deepEqual(linkOf(page), ACCOUNT);
    }
    const patched = await admin.patch(`/clients/${client_id}`, { client_uri: 'https://bank.example/' });
    assert.equal(patched.status, 200);
    for (const page of await pages()) assert.deepEqual(linkOf(page), ['https://bank.example/', 'Go to Your Bank']);
  });

  it('leads on after a logout without an application, and where there is no page (FIELD-D8)', async () => {
    const { person } = await signIn(gatehouse, client);
    assert.deepEqual(linkOf((await logOut(person, gatehouse, {}, 'stay')).page), ACCOUNT);
    assert.deepEqual(linkOf((await logOut(person, gatehouse)).page), ACCOUNT);
    const nowhere = await person.open(`${gatehouse.issuer}/nowhere`, { headers: { accept: 'text/html' } });
    assert.equal(nowhere.response.status, 404);
    assert.deepEqual(linkOf(nowhere.page), ACCOUNT);
    const hint = await person.open(`${gatehouse.issuer}/logout?id_token_hint=junk`, {
      headers: { accept: 'text/html' },
    });
    assert.deepEqual(linkOf(hint.page), ACCOUNT);
  });

  it('leads on after a device was connected or not, and to another code after a used one (FIELD-D8)', async () => {
    const tv = await registerDevice(gatehouse);
    const person = new Person(gatehouse);
    const refuser = new Person(gatehouse, { decision: 'deny' });
    const denied = await connectDevice(gatehouse, (await requestDevice(gatehouse, tv)).user_code, refuser);
    assert.match(denied.page, /The device was not connected/);
    assert.deepEqual(linkOf(denied.page), ACCOUNT);
    const connected = await connectDevice(gatehouse, (await requestDevice(gatehouse, tv)).user_code, person);
    assert.match(connected.page, /Your device is connected/);
    assert.deepEqual(linkOf(connected.page), ACCOUNT);
  });

  it('leads on after a request was approved or denied, or is gone (FIELD-D8)', async () => {
    const till = await registerTill(gatehouse);
    const { person } = await signIn(gatehouse, client);
    for (const decision of ['approve', 'deny']) {
      const at = pageOf(gatehouse, await ask(gatehouse, till));
      const { form_token } = fieldsOf((await person.open(at)).page);
      const { page } = await person.submit(at, { form_token: form_token!, decision });
      assert.match(page, /You have (?:approved|denied) the request/);
      assert.deepEqual(linkOf(page), ACCOUNT);
    }
    const gone = await person.open(`${gatehouse.issuer}/approve/${'A'.repeat(43)}`);
    assert.deepEqual(linkOf(gone.page), ACCOUNT);
    const at = pageOf(gatehouse, await ask(gatehouse, till));
    const old = await person.submit(at, { form_token: 'old', decision: 'approve' });
    assert.equal(old.response.status, 403);
    assert.deepEqual(linkOf(old.page), [new URL(at).pathname, 'Go back']);
  });
});
