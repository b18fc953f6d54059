import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { MFA_ACR, PASSWORD_ACR, PHISHING_RESISTANT_ACR } from '../../src/base/acr_values.ts';
import { sql } from 'kysely';
import { Admin } from '../support/client/admin.ts';
import { ask, decide, pageOf, poll, registerTill } from '../support/client/backchannel.ts';
import { registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource, type RegisteredClient } from '../support/node/operator.ts';
import {
  newAccount,
  personWithApp,
  reachSecondStep,
  readEnrolment,
  Authenticator,
} from '../support/person/authenticator.ts';
import { fieldsOf } from '../support/person/device_flow.ts';
import { loginsOf } from '../support/client/relying_party.ts';
import { Person } from '../support/person/person.ts';

const essential = (value: string): string => JSON.stringify({ id_token: { acr: { essential: true, value } } });

describe('a login that must be stronger than a password', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let strict: RegisteredClient;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    client = await registerApplication(gatehouse);
    strict = await registerApplication(gatehouse, { required_acr: MFA_ACR });
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const withoutFactor = async () => new Person(gatehouse, { account: await newAccount(gatehouse) });
  const errorOf = ({ callback }: { readonly callback: URL }): string | null => callback.searchParams.get('error');

  describe('because the client requires it', () => {
    it('is refused to an account without a second factor, with a way on', async () => {
      const person = await withoutFactor();
      await assert.rejects(
        requestCode(gatehouse, strict, { person }),
        /This login needs a second factor, and your account has none.*Set up a second factor/,
      );
      assert.equal(loginsOf(person), 1);
      assert.equal(person.cookies.has('gatehouse_session'), false);
    });

    it('is not met by an earlier login with the password', async () => {
      const { person, account } = await personWithApp(gatehouse);
      // a browser that is logged in with the password alone
      await gatehouse.adminCall('DELETE', `/accounts/${account.accountId}/factors`);
      await signIn(gatehouse, client, { person });
      const silent = await requestCode(gatehouse, strict, { person, parameters: { prompt: 'none' } });
      assert.equal(errorOf(silent), 'login_required');
      await assert.rejects(requestCode(gatehouse, strict, { person }), /This login needs a second factor/);
    });

    it('is met by a password and a code, and a later silent request goes on', async () => {
      const { person } = await personWithApp(gatehouse);
      const { tokens } = await signIn(gatehouse, strict, { person });
      assert.equal(tokens.claims()!['acr'], MFA_ACR);
      const silent = await requestCode(gatehouse, strict, { person, parameters: { prompt: 'none' } });
      assert.equal(errorOf(silent), null);
    });

    it('takes no recovery code', async () => {
      const { account } = await personWithApp(gatehouse);
      const code = (await admin.post(`/accounts/${account.accountId}/enrolment-code`)).body['code'] as string;
      const person = new Person(gatehouse, { account });
      const { config } = await requestCode(gatehouse, client, { person: new Person(gatehouse) });
      const url = new URL(config.serverMetadata().authorization_endpoint!);
      url.search = new URLSearchParams({
        client_id: strict.client_id,
        response_type: 'code',
        redirect_uri: 'https://app.example.com/callback',
        scope: 'openid',
        code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
        code_challenge_method: 'S256',
      }).toString();
      const { arrival, action } = await reachSecondStep(gatehouse, person, url.href);
      assert.equal(arrival.page.includes('recovery_code'), false);
      assert.equal((await person.submit(action, { recovery_code: code })).response.status, 401);
    });

    it('is set by an admin only', async () => {
      assert.equal((await admin.patch(`/clients/${client.client_id}`, { required_acr: 'urn:x' })).status, 400);
      const changed = await admin.patch(`/clients/${client.client_id}`, { required_acr: MFA_ACR });
      assert.deepEqual([changed.status, changed.body['required_acr']], [200, MFA_ACR]);
      assert.equal((await admin.patch(`/clients/${client.client_id}`, { required_acr: null })).status, 200);
    });
  });

  it('because the resource requires it, is asked for only with that resource', async () => {
    const resource = await registerResource(gatehouse, 'payroll', { required_acr: MFA_ACR });
    const application = await registerApplication(gatehouse, {
      resources: [{ resource: resource.resource, scopes: resource.scopes }],
    });
    const person = await withoutFactor();
    assert.equal((await signIn(gatehouse, application, { person })).tokens.claims()!['acr'], PASSWORD_ACR);
    const parameters = { resource: resource.resource };
    const scope = `openid ${resource.scopes[0]!}`;
    const silent = await requestCode(gatehouse, application, {
      person,
      scope,
      parameters: { ...parameters, prompt: 'none' },
    });
    assert.equal(errorOf(silent), 'login_required');
    await assert.rejects(
      requestCode(gatehouse, application, { person, scope, parameters }),
      /This login needs a second factor/,
    );
    const strong = await personWithApp(gatehouse);
    const { tokens } = await signIn(gatehouse, application, { person: strong.person, scope, parameters });
    assert.equal(tokens.claims()!['acr'], MFA_ACR);
  });

  describe('because the request asks for it', () => {
    it('raises a session of a password by a second factor, and the token names what was asked for', async () => {
      const { account, authenticator } = await personWithApp(gatehouse);
      const person = new Person(gatehouse, { account, code: () => authenticator.code() });
      const parameters = { acr_values: `urn:x:unknown ${MFA_ACR}` };
      const { tokens } = await signIn(gatehouse, client, { person, parameters });
      assert.equal(tokens.claims()!['acr'], MFA_ACR);
      const weaker = await signIn(gatehouse, client, { person, parameters: { acr_values: PASSWORD_ACR } });
      assert.equal(weaker.tokens.claims()!['acr'], PASSWORD_ACR, 'the stronger login satisfies it');
      assert.equal((await signIn(gatehouse, client, { person })).tokens.claims()!['acr'], MFA_ACR);
      assert.equal(loginsOf(person), 1);
    });

    it('and only wishes for it, is answered with a password where there is nothing else', async () => {
      const person = await withoutFactor();
      const { tokens } = await signIn(gatehouse, client, { person, parameters: { acr_values: MFA_ACR } });
      assert.equal(tokens.claims()!['acr'], PASSWORD_ACR);
    });

    it('silently, is answered with login_required', async () => {
      const person = await withoutFactor();
      await signIn(gatehouse, client, { person });
      const parameters = { acr_values: MFA_ACR, prompt: 'none' };
      assert.equal(errorOf(await requestCode(gatehouse, client, { person, parameters })), 'login_required');
    });

    it('as essential, is refused to an account that cannot meet it', async () => {
      const person = await withoutFactor();
      await assert.rejects(
        requestCode(gatehouse, client, { person, parameters: { claims: essential(MFA_ACR) } }),
        /This login needs a second factor/,
      );
      const strong = await personWithApp(gatehouse);
      const { tokens } = await signIn(gatehouse, client, {
        person: strong.person,
        parameters: { claims: essential(MFA_ACR) },
      });
      assert.equal(tokens.claims()!['acr'], MFA_ACR);
    });

    it('by a passkey, where this server offers none, is refused at once', async () => {
      const person = await withoutFactor();
      const parameters = { claims: essential(PHISHING_RESISTANT_ACR) };
      assert.equal(
        errorOf(await requestCode(gatehouse, client, { person, parameters })),
        'unmet_authentication_requirements',
      );
      assert.equal(loginsOf(person), 0);
    });
  });

  it('because the client requires it, is asked for before a backchannel request is approved (CIBA)', async () => {
    const till = await registerTill(gatehouse, { required_acr: MFA_ACR });
    const { account, authenticator } = await personWithApp(gatehouse);
    const asked = await ask(gatehouse, till, { login_hint: account.email });
    const url = pageOf(gatehouse, asked);
    const person = new Person(gatehouse, { account, code: () => authenticator.code() });
    await person.walk(`${gatehouse.issuer}/account/login`);
    // the same session, as if it were from a login with the password alone
    await sql`update artifacts set payload = payload || '{"acr": "urn:gatehouse:acr:password", "amr": ["pwd"]}'
      where kind = 'Session' and account_id = ${account.accountId}`.execute(gatehouse.database);
    const weak = await person.open(url);
    const { page } = await person.submit(url, { ...fieldsOf(weak.page), decision: 'approve' });
    assert.match(page, /<h1>Confirm that it’s you<\/h1>/);
    assert.equal((await poll(gatehouse, till, asked)).error, 'authorization_pending');
    const strong = new Person(gatehouse, { account, code: () => authenticator.code(1) });
    assert.match((await decide(gatehouse, asked, 'approve', strong)).page, /You have approved the request/);
  });

  it('is advertised: the contexts that a login here can have, and none that it cannot', async () => {
    const discover = async ({ url }: Gatehouse): Promise<unknown> => {
      const answer = await fetch(`${url}/.well-known/openid-configuration`);
      return ((await answer.json()) as { acr_values_supported: unknown }).acr_values_supported;
    };
    assert.deepEqual(await discover(gatehouse), [PASSWORD_ACR, MFA_ACR]);
    const named = await startGatehouse({ host: 'localhost' });
    try {
      assert.deepEqual(await discover(named), [PASSWORD_ACR, MFA_ACR, PHISHING_RESISTANT_ACR]);
    } finally {
      await named.stop();
    }
  });
});

describe('a server where each login needs a second factor', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_REQUIRED_ACR: MFA_ACR } });
  });
  after(() => gatehouse.stop());

  it('lets nobody enrol with a password alone', async () => {
    const person = new Person(gatehouse, { account: await newAccount(gatehouse) });
    const { page } = await person.walk(`${gatehouse.issuer}/account/authenticator`);
    assert.match(page, /ask the people who run this service for a code/);
    assert.equal(page.includes('<dt>Key</dt>'), false);
  });

  it('lets the owner enrol with a code of an admin, once, and then log in', async () => {
    const admin = await Admin.of(gatehouse);
    const client = await registerApplication(gatehouse);
    const account = await newAccount(gatehouse);
    const { status, body } = await admin.post(`/accounts/${account.accountId}/enrolment-code`);
    assert.equal(status, 201);
    const code = String(body['code']);
    const person = new Person(gatehouse, { account });
    const url = `${gatehouse.issuer}/account/authenticator`;
    const { action } = await reachSecondStep(gatehouse, person, url);
    const { page } = await person.submit(action, { recovery_code: code });
    const { secret, fields } = readEnrolment(page);
    // the code is no login to an application
    const silent = await requestCode(gatehouse, client, { person, parameters: { prompt: 'none' } });
    assert.equal(silent.callback.searchParams.get('error'), 'login_required');
    const authenticator = new Authenticator(secret);
    const done = await person.submit(url, { ...fields, code: authenticator.code(-1) });
    assert.match(done.page, /It has been added/);
    const again = new Person(gatehouse, { account });
    const second = await reachSecondStep(gatehouse, again, url);
    assert.equal((await again.submit(second.action, { recovery_code: code })).response.status, 401);
    const owner = new Person(gatehouse, { account, code: () => authenticator.code() });
    const { tokens } = await signIn(gatehouse, client, { person: owner });
    assert.equal(tokens.claims()!['acr'], MFA_ACR);
  });
});
