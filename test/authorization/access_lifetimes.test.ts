import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { registerApplication, requestCode } from '../support/client/code_flow.ts';
import { enterCode, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const UNTIL_WITHDRAWN =
  'The access lasts until you take it back, for 60 days at most, and ends when it is unused for 7 days.';
const WITH_SESSION = 'The access lasts until you log out or take it back, for 20 days at most.';

describe('how long access lasts', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({
      environment: {
        GATEHOUSE_REFRESH_TTL_SECONDS: String(7 * 86_400),
        GATEHOUSE_REFRESH_ABSOLUTE_TTL_SECONDS: String(60 * 86_400),
        GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: String(20 * 86_400),
      },
    });
  });
  after(() => gatehouse.stop());

  /** What the consent page says to a person who has just logged in. */
  const consentPage = async (
    client: RegisteredClient,
    more: Readonly<Record<string, string>>,
    person = new Person(gatehouse),
  ) => {
    const login = await person.open(`${gatehouse.issuer}/authorize?${authorizationRequest(client, more)}`);
    const [, action = ''] = /<form method="post" action="([^"]*\/login)">/.exec(login.page) ?? [];
    if (action === '') return login.page;
    return (await person.submit(new URL(action, login.url), gatehouse.account)).page;
  };

  it('is said on the consent page, as the tokens that the application gets make it (FIELD-V10)', async () => {
    const lasting = await registerApplication(gatehouse);
    const offline = { scope: 'openid offline_access notes:read', prompt: 'consent' };
    assert.ok((await consentPage(lasting, offline)).includes(UNTIL_WITHDRAWN));
    assert.ok((await consentPage(lasting, { scope: 'openid notes:read' })).includes(WITH_SESSION));
    const quick = await registerResource(gatehouse, 'quick', { access_token_ttl_seconds: 300 });
    const online = await registerApplication(gatehouse, {
      grant_types: ['authorization_code'],
      resources: [
        { resource: gatehouse.demo.resource, scopes: ['notes:read'] },
        { resource: quick.resource, scopes: quick.scopes },
      ],
    });
    const notes = await consentPage(online, { scope: 'openid notes:read' });
    assert.ok(notes.includes('The access lasts for 10 minutes at most.'));
    const short = await consentPage(online, { scope: 'quick:read', resource: quick.resource });
    assert.ok(short.includes('The access lasts for 5 minutes at most.'));
    const alone = await consentPage(online, { scope: 'openid' });
    assert.ok(alone.includes('The access lasts for 10 minutes at most.'), 'of a token for userinfo');
  });

  it('counts what was allowed before and is asked for again (FIELD-V10)', async () => {
    const client = await registerApplication(gatehouse);
    const person = new Person(gatehouse);
    const offline = { scope: 'openid offline_access', parameters: { prompt: 'consent' } };
    await requestCode(gatehouse, client, { person, ...offline });
    const again = await consentPage(client, { scope: 'openid offline_access', prompt: 'consent' }, person);
    assert.ok(again.includes(UNTIL_WITHDRAWN));
  });

  it('is said where the person decides about a device (FIELD-V10)', async () => {
    const tv = await registerDevice(gatehouse);
    const person = new Person(gatehouse);
    await person.walk(`${gatehouse.issuer}/account/login`);
    const decide = async (scope: string): Promise<string> =>
      (await enterCode(gatehouse, person, (await requestDevice(gatehouse, tv, { scope })).user_code)).page;
    assert.ok((await decide('openid notes:read')).includes(WITH_SESSION));
    assert.ok((await decide('openid offline_access notes:read')).includes(UNTIL_WITHDRAWN));
  });
});
