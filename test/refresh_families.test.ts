import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { removeExpiredRows } from '../src/maintenance/expired_rows.ts';
import { moveClock, resetClock } from './support/clock.ts';
import { registerApplication, registerPublicApplication, signIn } from './support/code_flow.ts';
import { post } from './support/device_flow.ts';
import { startGatehouse, type Gatehouse } from './support/gatehouse.ts';
import type { RegisteredClient } from './support/operator.ts';
import { auditEvents } from './support/registration.ts';

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

  it('takes no room for long, and still ends its family when it comes back', async () => {
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

  it('is another thing than one that nobody used in time: that one ends nothing', async () => {
    const { tokens: unused, person } = await signIn(gatehouse, client, OFFLINE);
    moveClock(13 * DAY_SECONDS);
    const { tokens } = await signIn(gatehouse, client, { ...OFFLINE, person });
    moveClock(2 * DAY_SECONDS);
    await kept();
    await isRefused(unused.refresh_token!);
    await rotate(tokens.refresh_token!);
  });

  it('can not be made up by who knows the grant: nobody can end the family of another', async () => {
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
});
