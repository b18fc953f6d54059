import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { decide, registerTill } from './support/backchannel.ts';
import { resetClock } from './support/clock.ts';
import { configure } from './support/code_flow.ts';
import { startGatehouse, type Gatehouse } from './support/gatehouse.ts';
import type { RegisteredClient } from './support/operator.ts';

describe('backchannel authentication (CIBA)', () => {
  let gatehouse: Gatehouse;
  let till: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    till = await registerTill(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  it('gives tokens to openid-client, which asks and polls, once the person has approved on their page', async () => {
    const config = await configure(gatehouse, till);
    const answer = await openid.initiateBackchannelAuthentication(config, {
      scope: 'openid email',
      login_hint: gatehouse.account.email,
      binding_message: 'Till 4, 12.50',
    });
    assert.deepEqual([answer.expires_in, answer.interval], [600, 5]);
    const polling = openid.pollBackchannelAuthenticationGrant(config, answer);
    const { page, response } = await decide(gatehouse, 'approve');
    assert.match(page, /You have approved the request/);
    assert.equal(response.status, 200);
    const tokens = await polling;
    assert.equal(tokens.claims()?.['email'], gatehouse.account.email);
    const claims = await openid.fetchUserInfo(config, tokens.access_token, tokens.claims()!.sub);
    assert.equal(claims.email, gatehouse.account.email);
  });
});
