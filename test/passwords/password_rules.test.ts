import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { MFA_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { personWithApp } from '../support/person/authenticator.ts';
import { LoginForm } from '../support/person/login_form.ts';

describe('the rules for passwords', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_PASSWORD_WORDS: 'Brindle Wick, Project Skua' } });
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const refused: readonly (readonly [why: string, password: string, detail: RegExp])[] = [
    ['of 14 characters', 'fourteen char.', /must have at least 15 characters/],
    ['of 15 units that are 14 characters', `a${'😀'.repeat(1)}bcdefghijklx`, /at least 15 characters/],
    ['of more than 256 characters', 'long '.repeat(52), /must not be longer than 256 characters/],
    ['that repeats a character', 'aaaaaaaaaaaaaaaaaaaa', /repetition/],
    ['that repeats a short part', 'xk7!xk7!xk7!xk7!', /repetition/],
    ['that is a sequence of digits', '012345678901234', /sequence/],
    ['that is two rows of the keyboard', 'qwertyuiopasdfghjkl', /sequence/],
    ['that is a row backwards', 'poiuytrewqlkjhgfdsa', /sequence/],
    ['that is columns of the keyboard', '1qaz2wsx3edc4rfv', /sequence/],
    ['that is on the list of common ones', '1234567890qwerty', /sequence|attackers try first/],
    ['that is a common one, repeated', 'passwordpassword', /attackers try first/],
    ['that is a common one in capitals', 'PassWordPASSWORD', /attackers try first/],
    ['that is a common one in wide letters', 'ｐａｓｓｗｏｒｄｐａｓｓｗｏｒｄ', /attackers try first/],
    ['that is a common one with an ending', 'password1234567!', /attackers try first/],
    ['that is a common one with signs in between', 'p-a-s-s-w-o-r-d!', /attackers try first/],
    ['that is the person’s address', 'grace.hopper@example.com', /your name, your e-mail address/],
    ['that is the person’s name', 'Grace-Hopper-2026', /your name, your e-mail address/],
    ['that is the name of this service', 'Gatehouse Gatehouse 99', /repetition|belong to this service/],
    ['that is the service and a little more', 'gatehouse-login', /belong to this service/],
    ['that is a word of the organization and a little more', 'brindle wick 2026', /belong to this service/],
    ['that is several words of the organization', 'Project Skua & Brindle Wick', /belong to this service/],
  ];
  for (const [why, password, detail] of refused) {
    it(`refuse a password ${why}`, async () => {
      const answer = await make({ password });
      assert.equal(answer.status, 400, answer.text);
      const [violation] = answer.body.errors;
      assert.equal(violation?.pointer, '/password');
      assert.match(violation?.detail ?? '', detail);
      assert.ok(!answer.text.includes(password), 'the answer does not repeat the password');
    });
  }

  const allowed = [
    'correct horse battery staple',
    'a sentence without digits',
    '😀 fifteen symbols',
    '  some words  with many   spaces  ',
    'brindle wick over seven mountains',
    'grace likes mountains in winter',
    'Ω≈ç√∫˜µ≤≥÷åß∂ƒ©˙∆',
    '739205816402739',
    'x'.concat('long words '.repeat(20), 'z'),
  ];
  for (const password of allowed) {
    it(`allow ‘${password.slice(0, 40)}’, of whatever characters it is`, async () => {
      const answer = await make({ password });
      assert.equal(answer.status, 201, answer.text);
    });
  }

  it('hold for a change by an admin too, with the name and address that the account then has', async () => {
    const { body } = await make({});
    const path = `/accounts/${body.account_id}`;
    assert.equal((await admin.patch(path, { password: 'fourteen char.' })).status, 400);
    assert.equal((await admin.patch(path, { password: 'Rear Admiral 1', name: 'Rear Admiral' })).status, 400);
    assert.equal((await admin.patch(path, { password: 'Rear-Admiral-1952', name: 'Rear Admiral' })).status, 400);
    assert.equal((await admin.patch(path, { password: 'Rear-Admiral-1952' })).status, 200);
  });

  it('let the demo account of a development server have its password', () => {
    assert.ok(gatehouse.account.password.length >= 64);
  });

  let count = 0;
  function make(members: Readonly<Record<string, unknown>>) {
    const email = count++ === 0 ? 'grace.hopper@example.com' : `grace.hopper@${count}.example.com`;
    return admin.post('/accounts', { email, name: 'Grace Hopper', ...members });
  }
});

describe('the lengths of passwords', () => {
  it('are settings, and an old password stays valid under new ones', async () => {
    const lenient = await startGatehouse({ environment: { GATEHOUSE_PASSWORD_MIN_LENGTH: '10' } });
    const account = { email: 'old@example.com', password: 'ten chars.' };
    assert.equal((await lenient.adminCall('POST', '/accounts', account)).status, 201);
    const strict = await startGatehouse({ beside: lenient });
    try {
      assert.equal((await strict.adminCall('POST', '/accounts', { ...account, email: 'new@example.com' })).status, 400);
      const form = await LoginForm.open(lenient, '127.0.0.1');
      assert.equal((await form.post(strict, account)).status, 303);
    } finally {
      await strict.stop();
      await lenient.stop();
    }
  });

  it('are less only where the server demands a second factor of each login', async () => {
    const nine = 'nine char';
    const open = await startGatehouse();
    const demanding = await startGatehouse({ beside: open, environment: { GATEHOUSE_REQUIRED_ACR: MFA_ACR } });
    try {
      const { account } = await personWithApp(open);
      const path = `/accounts/${account.accountId}`;
      // the owner may remove the app, and the password alone would be a login then
      assert.equal((await open.adminCall('PATCH', path, { password: nine })).status, 400);
      assert.equal((await demanding.adminCall('PATCH', path, { password: 'seven c' })).status, 400);
      assert.equal((await demanding.adminCall('PATCH', path, { password: nine })).status, 200);
    } finally {
      await demanding.stop();
      await open.stop();
    }
  });
});
