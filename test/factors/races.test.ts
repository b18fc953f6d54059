import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startPair, type Pair } from '../support/node/pair.ts';
import { hiddenField, personWithApp, reachSecondStep } from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

const LOGINS = 6;

describe('one code in several logins at once, on two nodes', () => {
  let pair: Pair;
  before(async () => {
    pair = await startPair({ GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' });
  });
  after(() => pair.stop());

  /** Several browsers at the page of the second step; each sends the same form at the same time. */
  const race = async (account: { email: string; password: string }, fields: Record<string, string>) => {
    const browsers = await Promise.all(
      Array.from({ length: LOGINS }, async (_, index) => {
        const person = new Person(pair.a, { account, address: '192.0.2.1' });
        const { action } = await reachSecondStep(pair.a, person);
        const url = new URL(action.pathname, (index % 2 === 0 ? pair.a : pair.b).url);
        return { person, url };
      }),
    );
    const answers = await Promise.all(
      browsers.map(({ person, url }) => person.fetch(url, { method: 'POST', body: new URLSearchParams(fields) })),
    );
    return answers.map(({ status }) => status).toSorted((a, b) => a - b);
  };
  const oneOf = (statuses: readonly number[]): void => {
    assert.equal(statuses.filter((status) => status === 303).length, 1, statuses.join());
    assert.ok(
      statuses.slice(1).every((status) => status === 401 || status === 429),
      statuses.join(),
    );
  };

  it('logs in once with the code of an app (RFC 6238, 5.2)', async () => {
    const { account, authenticator } = await personWithApp(pair.a, { address: '192.0.2.1' });
    oneOf(await race(account, { code: authenticator.code() }));
  });

  it('logs in once with a recovery code', async () => {
    const { account, person } = await personWithApp(pair.a, { address: '192.0.2.1' });
    const url = `${pair.a.issuer}/account/recovery-codes`;
    const { page } = await person.walk(url);
    const made = await person.submit(url, { form_token: hiddenField(page, 'form_token') });
    const [code] = /[0-9A-Z]{4}(?:-[0-9A-Z]{4}){5}/.exec(made.page) ?? [];
    oneOf(await race(account, { recovery_code: code! }));
  });
});
