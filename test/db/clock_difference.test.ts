import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { redeem, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

describe('a node whose clock is far off', () => {
  it('answers what has no date, and nothing else, even if its address is made to look like more', async () => {
    let ahead = 0;
    const gatehouse = await startGatehouse({
      environment: { GATEHOUSE_CLOCK_DIFFERENCE_SECONDS: '10' },
      clock: () => new Date(Date.now() + ahead),
    });
    try {
      ahead = 300_000;
      const status = async (path: string) => (await fetch(gatehouse.url + path)).status;
      for (const path of ['/jwks', '/jwks?x', '/.well-known/openid-configuration']) {
        assert.equal(await status(path), 200, path);
      }
      for (const query of ['', '?x=/jwks', '?redirect_uri=https://app.example/.well-known/callback', '?/jwks?']) {
        const answer = await postForm(
          `${gatehouse.url}/token${query}`,
          { grant_type: 'client_credentials' },
          gatehouse.demo,
        );
        assert.equal(answer.status, 503, query);
        assert.equal(answer.headers.get('retry-after'), '5');
      }
    } finally {
      await gatehouse.stop();
    }
  });
});

describe('on a node whose clock is behind, what was used on another node', () => {
  let gatehouse: Gatehouse;
  let late: Gatehouse;
  let application: RegisteredClient;
  before(async () => {
    const environment = { GATEHOUSE_REFRESH_GRACE_SECONDS: '0' };
    gatehouse = await startGatehouse({ environment });
    late = await startGatehouse({ environment, beside: gatehouse, clock: () => new Date(Date.now() - 2_000) });
    application = await registerApplication(gatehouse);
  });
  after(async () => {
    await late.stop();
    await gatehouse.stop();
  });

  it('is used: an authorization code', async () => {
    const callback = await requestCode(gatehouse, application);
    assert.equal((await redeem(gatehouse.url, application, callback)).status, 200);
    const again = await redeem(late.url, application, callback);
    assert.equal(again.status, 400);
    assert.equal(((await again.json()) as { error: string }).error, 'invalid_grant');
  });

  it('is used: a refresh token, where there is no grace', async () => {
    const { tokens } = await signIn(gatehouse, application);
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! };
    assert.equal((await postForm(`${gatehouse.url}/token`, form, application)).status, 200);
    const again = await postForm(`${late.url}/token`, form, application);
    assert.equal(again.status, 400);
    assert.equal(((await again.json()) as { error: string }).error, 'invalid_grant');
  });
});
