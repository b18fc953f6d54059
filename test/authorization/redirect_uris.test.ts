import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { authorizationRequest, reachesLogin, staysHere } from '../support/client/authorization_request.ts';
import { registerApplication, registerPublicApplication, REDIRECT_URI } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const EVIL = 'https://evil.example';

describe('redirect URIs: authorization requests', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let native: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse, { redirect_uris: [REDIRECT_URI, 'http://127.0.0.1:9560/cb'] });
    native = await registerPublicApplication(gatehouse, {
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/callback', 'com.example.app:/callback'],
    });
  });
  after(() => gatehouse.stop());

  const query = (changed: Record<string, string | undefined> = {}, who = client): URLSearchParams =>
    authorizationRequest(who, changed);

  describe('send no browser to a redirect URI', () => {
    for (const [what, redirect_uri] of Object.entries({
      'of a stranger (CVE-2025-4143)': `${EVIL}/callback`,
      'with a query added (AUTH-R02)': `${REDIRECT_URI}?x=1`,
      'with a fragment added (AUTH-R06)': `${REDIRECT_URI}#x`,
      'with an empty fragment': `${REDIRECT_URI}#`,
      'with a path added': `${REDIRECT_URI}/x`,
      'with a slash added': `${REDIRECT_URI}/`,
      'with dot segments (AUTH-R04)': 'https://app.example.com/x/../callback',
      'with encoded dot segments (CVE-2024-1132)': 'https://app.example.com/x/%2e%2e/callback',
      'with a double-encoded slash (CVE-2022-3782)': 'https://app.example.com/%252f../callback',
      'whose path is percent-encoded': 'https://app.example.com/%63allback',
      'whose host starts like the registered one (AUTH-R08, CVE-2024-52289)':
        'https://app.example.com.evil.example/callback',
      'whose host ends like the registered one': 'https://evil-app.example.com/callback',
      'in a folder below': 'https://sub.app.example.com/callback',
      'with the registered host as a user name (CVE-2023-6291)': 'https://app.example.com@evil.example/callback',
      'with a port in the user name (CVE-2024-8883)': 'https://app.example.com:80@evil.example/callback',
      'with a user name': 'https://user@app.example.com/callback',
      'with a backslash': 'https://app.example.com\\@evil.example/callback',
      'with another port': 'https://app.example.com:8443/callback',
      'with the default port written out': 'https://app.example.com:443/callback',
      'over plain http': 'http://app.example.com/callback',
      'in upper case': 'HTTPS://APP.EXAMPLE.COM/callback',
      'with a space at the end (AUTH-R14)': `${REDIRECT_URI} `,
      'with a line break': `${REDIRECT_URI}\r\nset-cookie: x=1`,
      'with a NUL': `${REDIRECT_URI}\0`,
      'without a scheme': '//app.example.com/callback',
      'that is a path': '/callback',
      'that is a script': 'javascript:alert(1)',
      'that is data (AUTH-R12)': 'data:text/html,x',
      'that is empty': '',
      'of a loopback port that a web client did not register (AUTH-R10)': 'http://127.0.0.1:9561/cb',
      'of loopback by another name': 'http://localhost:9560/cb',
    })) {
      it(what, async () => {
        const page = await staysHere(gatehouse, query({ redirect_uri }));
        const text = page.replace(/<section>\s*<h2>For developers.*<\/section>/s, '');
        assert.equal(text.includes('evil.example'), false, 'the page repeats the address to people');
        assert.equal(/(?:href|action)="[^"]*evil\.example/.test(page), false, 'the page leads to the address');
      });
    }

    it('that they leave out (AUTH-R16, oidcc-ensure-redirect-uri-in-authorization-request)', async () => {
      await staysHere(gatehouse, query({ redirect_uri: undefined }));
    });
    it('of another client (AUTH-R20)', async () => {
      await staysHere(gatehouse, query({ redirect_uri: 'com.example.app:/callback' }));
    });
    it('for an unknown client (AUTH-R18)', async () => {
      await staysHere(gatehouse, query({ client_id: 'no-such-client' }));
    });
    it('without a client', async () => {
      await staysHere(gatehouse, query({ client_id: undefined }));
    });
    it('that comes twice, once right', async () => {
      const twice = query();
      twice.append('redirect_uri', `${EVIL}/callback`);
      await staysHere(gatehouse, twice);
    });
    it('that was taken away while the person logged in', async () => {
      const former = await registerApplication(gatehouse);
      const person = new Person(gatehouse);
      const { url } = await person.open(
        `${gatehouse.issuer}/authorize?${query({ redirect_uri: REDIRECT_URI }, former)}`,
      );
      const path = `/clients/${former.client_id}`;
      const taken = await gatehouse.adminCall('PATCH', path, { redirect_uris: ['https://new.example.com/callback'] });
      assert.equal(taken.status, 200);
      const arrival = await person.walk(url);
      assert.equal(arrival.response.status, 400);
      assert.match(arrival.page, /invalid_redirect_uri/);
    });
    it('that comes as an array', async () => {
      await staysHere(gatehouse, `${query({ redirect_uri: undefined })}&redirect_uri[]=${EVIL}`);
    });
  });

  describe('of native applications (RFC 8252)', () => {
    it('may come back to any port of loopback', () =>
      reachesLogin(gatehouse, query({ redirect_uri: 'http://127.0.0.1:54321/callback' }, native)));
    it('may come back to a scheme of their own', () =>
      reachesLogin(gatehouse, query({ redirect_uri: 'com.example.app:/callback' }, native)));
    for (const redirect_uri of [
      'http://127.0.0.1:54321/other',
      'http://127.0.0.1:54321/callback?x=1',
      'http://127.0.0.1.evil.example:54321/callback',
      'http://127.0.0.1:80@evil.example/callback',
      'http://127.0.0.2:54321/callback',
      'http://localhost:54321/callback',
      'http://[::1]:54321/callback',
      'https://127.0.0.1:54321/callback',
      'com.example.app:/callback/x',
      'com.example.app:/callback?x=1',
    ]) {
      it(`may not come back to ${redirect_uri}`, async () => {
        await staysHere(gatehouse, query({ redirect_uri }, native));
      });
    }
  });
});
