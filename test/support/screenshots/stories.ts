/** How each page comes to be seen, for pictures of it. */
import type { Page } from 'playwright-core';
import { MFA_ACR } from '../../../src/base/acr_values.ts';
import { Admin } from '../client/admin.ts';
import { ask, pageOf, registerTill } from '../client/backchannel.ts';
import { BANK, openBank, PAYMENT } from '../client/payments.ts';
import { startApplication } from '../client/application.ts';
import { makePolicy, makeToken, register } from '../client/registration.ts';
import { registerDevice, requestDevice } from '../person/device_flow.ts';
import { newAccount, personWithApp } from '../person/authenticator.ts';
import { logIn, signIn, type Scene } from '../person/pages.ts';
import { VirtualAuthenticator } from '../person/virtual_authenticator.ts';

type Story = (page: Page, scene: Scene) => Promise<void>;

const everything = ({ gatehouse }: Scene) => ({
  scope: 'openid profile email offline_access notes:read notes:write',
  resource: gatehouse.demo.resource,
  prompt: 'consent',
});

const toAccount =
  (section: string): Story =>
  async (page, scene) => {
    await signIn(page, scene, everything(scene));
    await page.goto(`${scene.gatehouse.issuer}/account${section}`);
  };

async function toConsent(page: Page, scene: Scene): Promise<void> {
  await page.goto(scene.application.authorizationUrl(everything(scene)));
  await logIn(page, scene.gatehouse.account);
  await page.getByRole('button', { name: 'Allow' }).waitFor();
}

async function enterCode(page: Page, { gatehouse }: Scene, code: string): Promise<void> {
  await page.goto(`${gatehouse.issuer}/device`);
  await page.getByLabel('Code').fill(code);
  await page.getByRole('button', { name: 'Continue' }).click();
}

const MFA_CLAIM = JSON.stringify({ id_token: { acr: { essential: true, value: MFA_ACR } } });

async function toSecondStep(page: Page, { gatehouse, application }: Scene): Promise<void> {
  const { account } = await personWithApp(gatehouse);
  await page.goto(application.authorizationUrl());
  await logIn(page, account);
  await page.getByRole('heading', { name: 'Second step' }).waitFor();
}

/** Opens the link in the newest mail to this address. */
async function openNewestLink(page: Page, gatehouse: Scene['gatehouse'], email: string): Promise<void> {
  const links = page.locator('.item').filter({ hasText: email }).locator('a');
  // the mail is sent a moment later
  do await page.goto(`${gatehouse.issuer}/mails`);
  while ((await links.count()) === 0);
  await links.first().click();
  await page.locator('form').first().waitFor();
}

/** A page of factors, of a person who has none. */
const toFactors =
  (path: string): Story =>
  async (page, { gatehouse }) => {
    const account = await newAccount(gatehouse);
    await page.goto(`${gatehouse.issuer}/account/${path}`);
    await logIn(page, account);
    await page.locator('.menu').waitFor();
  };

/** A page of factors, of a person with an authenticator app. */
async function withApp(page: Page, { gatehouse }: Scene, path: string): Promise<void> {
  const { account, authenticator } = await personWithApp(gatehouse);
  await page.goto(`${gatehouse.issuer}/account/${path}`);
  await logIn(page, account);
  await page.getByLabel('Code of your').fill(authenticator.code());
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.locator('.menu').waitFor();
}

async function withPasskey(page: Page, scene: Scene): Promise<void> {
  await VirtualAuthenticator.in(page, { answers: true });
  await toFactors('passkeys')(page, scene);
  await page.getByRole('button', { name: 'Add a passkey' }).click();
  await page.getByText('It has been added').waitFor();
}

export const STORIES: Readonly<Record<string, Story>> = {
  front: async (page, { gatehouse }) => void (await page.goto(gatehouse.issuer)),
  login: async (page, { application }) => void (await page.goto(application.authorizationUrl())),
  login_wrong: async (page, { application }) => {
    await page.goto(application.authorizationUrl());
    await logIn(page, { email: 'ada@example.com', password: 'a guess' });
  },
  login_confirm: async (page, scene) => {
    await signIn(page, scene);
    await page.goto(scene.application.authorizationUrl({ prompt: 'login' }));
  },
  login_unverified: async (page, { gatehouse, application }) => {
    await makePolicy(gatehouse, { name: 'partners', token_endpoint_auth_methods: ['client_secret_basic'] });
    const { initial_access_token } = await makeToken(gatehouse, 'partners');
    const metadata = { client_name: 'Your Bank', redirect_uris: [application.redirectUri] };
    const { body } = await register(gatehouse, metadata, initial_access_token);
    await page.goto(application.authorizationUrl({ client_id: body.client_id }));
  },
  choice: async (page, scene) => {
    await signIn(page, scene);
    await page.goto(scene.application.authorizationUrl({ prompt: 'select_account' }));
  },
  consent: toConsent,
  consent_details: async (page, { gatehouse }) => {
    await openBank(gatehouse);
    const shop = await startApplication(gatehouse, {
      client_name: 'The shop',
      resources: [{ resource: BANK, scopes: ['accounts:read'] }],
      authorization_details_types: ['payment'],
    });
    const parameters = { scope: 'accounts:read', resource: BANK, authorization_details: JSON.stringify([PAYMENT]) };
    await page.goto(shop.authorizationUrl(parameters));
    await logIn(page, gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    await shop.stop();
  },
  device: async (page, { gatehouse }) => void (await page.goto(`${gatehouse.issuer}/device`)),
  device_wrong: (page, scene) => enterCode(page, scene, 'BCDFG-HJKLM'),
  device_consent: async (page, scene) => {
    const tv = await registerDevice(scene.gatehouse);
    await enterCode(page, scene, (await requestDevice(scene.gatehouse, tv, { scope: 'openid notes:read' })).user_code);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
  },
  device_connected: async (page, scene) => {
    const tv = await registerDevice(scene.gatehouse);
    await enterCode(page, scene, (await requestDevice(scene.gatehouse, tv)).user_code);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByRole('heading', { name: 'Your device is connected' }).waitFor();
  },
  approval: async (page, scene) => {
    const till = await registerTill(scene.gatehouse, { policy_uri: 'https://shop.example/privacy' });
    const asked = await ask(scene.gatehouse, till, { scope: 'openid notes:read', binding_message: 'Till 4, 12.50 €' });
    await page.goto(pageOf(scene.gatehouse, asked));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Approve' }).waitFor();
  },
  logout: async (page, scene) => {
    await signIn(page, scene);
    await page.goto(`${scene.gatehouse.issuer}/logout`);
  },
  logged_out: async (page, scene) => {
    await signIn(page, scene);
    await page.goto(`${scene.gatehouse.issuer}/logout`);
    await page.getByRole('button', { name: 'Log out' }).click();
  },
  error: async (page, { application }) =>
    void (await page.goto(application.authorizationUrl({ redirect_uri: 'https://notes.example/callbak' }))),
  expired: async (page, { gatehouse }) => void (await page.goto(`${gatehouse.issuer}/interaction/gone`)),
  nowhere: async (page, { gatehouse }) => void (await page.goto(`${gatehouse.issuer}/nowhere`)),
  login_result: async (page, { gatehouse }) => {
    await page.goto(`${gatehouse.issuer}/try-login`);
    await logIn(page, gatehouse.account);
    await page.getByRole('button', { name: 'Allow', exact: true }).click();
    await page.getByRole('heading', { name: 'The login worked' }).waitFor();
  },
  account_logged_out: async (page, { gatehouse }) => void (await page.goto(`${gatehouse.issuer}/account`)),
  account_profile: toAccount(''),
  account_profile_full: async (page, scene) => {
    const admin = await Admin.of(scene.gatehouse);
    const account = { email: 'countess@example.com', password: 'a password for the countess' };
    await admin.post('/accounts', {
      ...account,
      name: 'Augusta Ada King, Countess of Lovelace',
      given_name: 'Ada',
      family_name: 'Lovelace',
      birthdate: '1815-12-10',
      locale: 'en-GB',
      zoneinfo: 'Europe/London',
      phone_number: '+44 20 7946 0000',
      address: { formatted: '12 St James’s Square\nLondon SW1Y' },
    });
    const till = await registerTill(scene.gatehouse);
    await ask(scene.gatehouse, till, { binding_message: 'Till 4, 12.50 €', login_hint: account.email });
    await page.goto(`${scene.gatehouse.issuer}/account/login`);
    await logIn(page, account);
    await page.getByRole('heading', { name: 'Profile' }).waitFor();
  },
  account_security: toAccount('/security'),
  account_devices: toAccount('/devices'),
  account_applications: async (page, scene) => {
    await toAccount('/applications')(page, scene);
    await page.locator('summary').first().click();
  },
  account_applications_none: async (page, scene) => {
    const admin = await Admin.of(scene.gatehouse);
    const account = { email: 'new@example.com', password: 'a password for somebody new' };
    await admin.post('/accounts', account);
    await page.goto(`${scene.gatehouse.issuer}/account/login?section=applications`);
    await logIn(page, account);
    await page.getByRole('heading', { name: 'Applications' }).waitFor();
  },
  second_step: (page, scene) => toSecondStep(page, scene),
  second_step_wrong: async (page, scene) => {
    await toSecondStep(page, scene);
    await page.getByLabel('Code of your').fill('123456');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('alert').first().waitFor();
  },
  factor_missing: async (page, scene) => {
    await page.goto(scene.application.authorizationUrl({ claims: MFA_CLAIM }));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('heading', { name: 'Second step' }).waitFor();
  },
  account_security_factors: async (page, scene) => {
    await withPasskey(page, scene);
    await page.goto(`${scene.gatehouse.issuer}/account/security`);
  },
  account_passkeys: withPasskey,
  forgotten_password: async (page, { gatehouse }) => void (await page.goto(`${gatehouse.issuer}/forgot-password`)),
  account_password: toFactors('password'),
  account_email: toFactors('email'),
  link_password: async (page, { gatehouse }) => {
    const account = await newAccount(gatehouse);
    const admin = await Admin.of(gatehouse);
    await admin.post(`/accounts/${account.accountId}/links`, { kind: 'reset' });
    await openNewestLink(page, gatehouse, account.email);
    await page.getByRole('button', { name: 'Set password' }).click();
  },
  link_report: async (page, { gatehouse }) => {
    const { account } = await personWithApp(gatehouse);
    await openNewestLink(page, gatehouse, account.email);
  },
  mails: async (page, { gatehouse }) => {
    await personWithApp(gatehouse);
    do await page.goto(`${gatehouse.issuer}/mails`);
    while ((await page.locator('.item').count()) === 0);
  },
  account_authenticator: toFactors('authenticator'),
  account_authenticator_set: (page, scene) => withApp(page, scene, 'authenticator'),
  account_codes: async (page, scene) => {
    await withApp(page, scene, 'recovery-codes');
    await page.getByRole('button', { name: 'Make recovery codes' }).click();
    await page.getByText('Write these codes down').waitFor();
  },
  account_codes_none: toFactors('recovery-codes'),
  account_remembered_none: toFactors('remembered-devices'),
  account_remembered: async (page, scene) => {
    const { account, authenticator } = await personWithApp(scene.gatehouse);
    await page.goto(`${scene.gatehouse.issuer}/account/login`);
    await logIn(page, account);
    await page.getByLabel('Code of your').fill(authenticator.code());
    await page.getByLabel('Don’t ask for the second step').check();
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Profile' }).waitFor();
    await page.goto(`${scene.gatehouse.issuer}/account/remembered-devices`);
  },
  account_activity: toAccount('/activity'),
  account_data: toAccount('/data'),
};
