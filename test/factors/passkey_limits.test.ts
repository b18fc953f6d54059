import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { newAccount } from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';
import { addPasskey, logInWithPasskey, SoftwareAuthenticator } from '../support/person/software_authenticator.ts';

const WRONG_OF_A_NETWORK = 60;

describe('a right passkey', () => {
  let gatehouse: Gatehouse;
  let page: string;
  let passkey: SoftwareAuthenticator;
  before(async () => {
    gatehouse = await startGatehouse({ host: 'localhost' });
    page = `${gatehouse.issuer}/account/passkeys`;
    passkey = new SoftwareAuthenticator(new URL(gatehouse.issuer).origin);
    await addPasskey(gatehouse, new Person(gatehouse, { account: await newAccount(gatehouse) }), passkey);
  });
  after(() => gatehouse.stop());

  const statusOfLogin = async (person: Person, key: SoftwareAuthenticator): Promise<number> =>
    (await logInWithPasskey(person, key, page)).response.status;

  it('is accepted whatever passwords strangers in the same network have tried', async () => {
    const stranger = new Person(gatehouse);
    const { url } = await stranger.open(`${gatehouse.issuer}/account/login`);
    const guess = async (n: number): Promise<number> =>
      (await stranger.submit(`${url}/login`, { email: `nobody-${n}@example.com`, password: 'wrong' })).response.status;
    for (let n = 0; n < WRONG_OF_A_NETWORK; n++) assert.equal(await guess(n), 401);
    assert.equal(await guess(WRONG_OF_A_NETWORK), 429);
    assert.equal(await statusOfLogin(new Person(gatehouse), passkey), 200);
  });

  it('is accepted whatever passkeys they have tried, and these are limited', async () => {
    const stranger = new Person(gatehouse);
    const unknown = new SoftwareAuthenticator(new URL(gatehouse.issuer).origin);
    for (let n = 0; n < WRONG_OF_A_NETWORK; n++) assert.equal(await statusOfLogin(stranger, unknown), 401);
    assert.equal(await statusOfLogin(stranger, unknown), 429);
    assert.equal(await statusOfLogin(new Person(gatehouse), passkey), 200);
  });
});
