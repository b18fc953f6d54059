import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { hiddenField, newAccount, personWithApp } from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

const ADVICE = /Save recovery codes, so that a lost device doesn’t lock you out/;

describe('the page of a person’s security', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ host: 'localhost' });
  });
  after(() => gatehouse.stop());

  const securityPage = async (person: Person): Promise<string> => {
    await person.walk(`${gatehouse.issuer}/account/login`);
    return (await person.open(`${gatehouse.issuer}/account/security`)).page;
  };

  it('leads a person without a factor to the pages that add one, and advises no codes', async () => {
    const page = await securityPage(new Person(gatehouse, { account: await newAccount(gatehouse) }));
    for (const path of ['passkeys', 'authenticator', 'recovery-codes']) {
      assert.match(page, new RegExp(`href="/account/${path}"`));
    }
    assert.doesNotMatch(page, ADVICE);
    assert.doesNotMatch(page, /href="\/account\/remembered-devices"/);
  });

  it('advises a person with a factor to save recovery codes, until there are some', async () => {
    const { person } = await personWithApp(gatehouse);
    assert.match(await securityPage(person), ADVICE);
    const url = `${gatehouse.issuer}/account/recovery-codes`;
    const { page } = await person.open(url);
    await person.submit(url, { form_token: hiddenField(page, 'form_token') });
    const later = (await person.open(`${gatehouse.issuer}/account/security`)).page;
    assert.doesNotMatch(later, ADVICE);
    assert.match(later, /10 unused codes/);
  });

  it('shows the app, and the activity tells of it', async () => {
    const { person } = await personWithApp(gatehouse);
    assert.match(await securityPage(person), /Authenticator app <span class="badge good">On<\/span>/);
    const { page } = await person.open(`${gatehouse.issuer}/account/activity`);
    assert.match(page, /A factor was added: authenticator app/);
  });
});
