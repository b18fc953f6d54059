import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { registerApplication, registerPublicApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { post } from '../support/person/device_flow.ts';
import { makeProofKey, prove, type ProofKey } from '../support/client/dpop.ts';
import { codeForm } from '../support/client/dpop_nodes.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { auditEvents } from '../support/client/registration.ts';

const DAY_SECONDS = 86_400;
/** Asks for a refresh token that outlives the session. */
const OFFLINE = { scope: 'openid offline_access', parameters: { prompt: 'consent' } } as const;
const MARK_CHARACTERS = 70;

describe('a refresh token that was used', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const refresh = async (refresh_token: string, who = client) => {
    const response = await post(`${gatehouse.url}/token`, who, { grant_type: 'refresh_token', refresh_token });
    return { status: response.status, ...((await response.json()) as { refresh_token?: string; error?: string }) };
  };
  const rotate = async (refresh_token: string): Promise<string> => {
    const { status, ...body } = await refresh(refresh_token);
    assert.equal(status, 200, JSON.stringify(body));
    return body.refresh_token!;
  };
  const isRefused = async (refresh_token: string, who = client): Promise<void> => {
    const { status, error } = await refresh(refresh_token, who);
    assert.deepEqual([status, error], [400, 'invalid_grant']);
  };
  const kept = async (): Promise<number> => {
    await removeExpiredRows(gatehouse.database, new Date());
    const rows = await gatehouse.database
      .selectFrom('artifacts')
      .select('kind')
      .where('kind', '=', 'RefreshToken')
      .execute();
    return rows.length;
  };

  it('is not stored for long, and still ends its family when it comes back', async () => {
    const { tokens } = await signIn(gatehouse, client, OFFLINE);
    const alive = await kept();
    let newest = tokens.refresh_token!;
    for (let turn = 0; turn < 3; turn++) newest = await rotate(newest);
    assert.equal(await kept(), alive + 3);
    moveClock(DAY_SECONDS);
    assert.equal(await kept(), alive);
    const reused = (await auditEvents(gatehouse, 'refresh_token.reused')).length;
    await isRefused(tokens.refresh_token!);
    await isRefused(newest);
    assert.equal((await auditEvents(gatehouse, 'refresh_token.reused')).length, reused + 1);
  });

  it('does that for the client only that it was given to', async () => {
    const { tokens } = await signIn(gatehouse, client, OFFLINE);
    const newest = await rotate(tokens.refresh_token!);
    moveClock(DAY_SECONDS);
    await kept();
    await isRefused(tokens.refresh_token!, await registerPublicApplication(gatehouse));
    await rotate(newest);
  });

  it('is another thing than one that was not used in time: that one ends nothing', async () => {
    const { tokens: unused, person } = await signIn(gatehouse, client, OFFLINE);
    moveClock(13 * DAY_SECONDS);
    const { tokens } = await signIn(gatehouse, client, { ...OFFLINE, person });
    moveClock(2 * DAY_SECONDS);
    await kept();
    await isRefused(unused.refresh_token!);
    await rotate(tokens.refresh_token!);
  });

  it('can not be made up by a client that knows the grant: no client can end the family of another', async () => {
    const { tokens } = await signIn(gatehouse, client, OFFLINE);
    const newest = await rotate(tokens.refresh_token!);
    moveClock(DAY_SECONDS);
    await kept();
    const random = 'x'.repeat(newest.length - MARK_CHARACTERS);
    const mark = tokens.refresh_token!.slice(-MARK_CHARACTERS);
    await isRefused(random + mark);
    const flipped = Buffer.from(mark, 'base64url');
    flipped[33]! ^= 1;
    await isRefused(tokens.refresh_token!.slice(0, -MARK_CHARACTERS) + flipped.toString('base64url'));
    await rotate(newest);
  });

  it('is known by its very letters: one that differs by a bit that means nothing is none of ours', async () => {
    const { tokens } = await signIn(gatehouse, client, OFFLINE);
    const value = tokens.refresh_token!;
    const bytes = Buffer.from(value.slice(-MARK_CHARACTERS), 'base64url');
    const twins = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
      .split('')
      .map((last) => value.slice(0, -1) + last)
      .filter((twin) => twin !== value && Buffer.from(twin.slice(-MARK_CHARACTERS), 'base64url').equals(bytes));
    assert.equal(twins.length, 15);
    for (const twin of twins) await isRefused(twin);
    await rotate(value);
  });

  it('ends its family even where the newest of the same grant came with a session that has ended since', async () => {
    const { tokens, person } = await signIn(gatehouse, client, OFFLINE);
    const newest = await rotate(tokens.refresh_token!);
    moveClock(60);
    await signIn(gatehouse, client, { scope: 'openid', person });
    const { page } = await person.open(`${gatehouse.url}/logout`);
    const [, action] = /action="([^"]+)"/.exec(page) ?? [];
    const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(page) ?? [];
    await person.submit(new URL(action!, gatehouse.url), { xsrf: xsrf!, logout: 'yes' });
    moveClock(DAY_SECONDS);
    await kept();
    await isRefused(tokens.refresh_token!);
    await isRefused(newest);
  });

  it('ends its family for a client that proves its key, even where the same grant has newer ones for another key (DPoP)', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const [key, other] = [await makeProofKey(), await makeProofKey()];
    const ask = async (by: ProofKey, form: Record<string, string>) => {
      const claims = { iat: Math.floor(Date.now() / 1000) };
      const DPoP = await prove(by, ['POST', `${gatehouse.issuer}/token`], { claims });
      const response = await postForm(`${gatehouse.url}/token`, { client_id: spa.client_id, ...form }, undefined, {
        DPoP,
      });
      return (await response.json()) as { refresh_token?: string; error?: string };
    };
    const renew = (by: ProofKey, refresh_token: string) => ask(by, { grant_type: 'refresh_token', refresh_token });
    const login = await requestCode(gatehouse, spa, OFFLINE);
    const first = (await ask(key, codeForm(login))).refresh_token!;
    const newest = (await renew(key, first)).refresh_token!;
    moveClock(60);
    const again = await requestCode(gatehouse, spa, { scope: 'openid', person: login.person });
    const elsewhere = (await ask(other, codeForm(again))).refresh_token!;
    moveClock(DAY_SECONDS);
    await kept();
    // who can't redeem it can't destroy it
    assert.equal((await renew(await makeProofKey(), first)).error, 'invalid_grant');
    const alive = (await renew(other, elsewhere)).refresh_token!;
    assert.equal((await renew(key, first)).error, 'invalid_grant');
    assert.equal((await renew(key, newest)).error, 'invalid_grant');
    assert.equal((await renew(other, alive)).error, 'invalid_grant');
  });
});
