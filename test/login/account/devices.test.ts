import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { Admin } from '../../support/client/admin.ts';
import { registerApplication, requestCode } from '../../support/client/code_flow.ts';
import { moveClock, resetClock } from '../../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../../support/node/gatehouse.ts';
import type { RegisteredClient } from '../../support/node/operator.ts';
import { Person } from '../../support/person/person.ts';

const IPHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1';

interface SessionItem {
  readonly [member: string]: unknown;
  readonly user_agent: string | null;
  readonly address: string | null;
  readonly last_used_at: string | null;
}

describe('a session', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' } });
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  /** A person whose browser has this name. */
  class Browser extends Person {
    userAgent = IPHONE;

    override fetch(url: string | URL, init: RequestInit = {}): Promise<Response> {
      const headers = new Headers(init.headers);
      headers.set('user-agent', this.userAgent);
      return super.fetch(url, { ...init, headers });
    }
  }

  async function sessions(): Promise<readonly SessionItem[]> {
    const admin = await Admin.of(gatehouse); // the clock moves past the life of an earlier token
    const { body: accounts } = await admin.get('/accounts');
    const [account] = accounts['items'] as readonly { account_id: string }[];
    const { body } = await admin.get(`/accounts/${account?.account_id}/sessions`);
    return body['items'] as readonly unknown[] as readonly SessionItem[];
  }

  async function devicesPage(person: Person): Promise<string> {
    return (await person.open(`${gatehouse.issuer}/account/devices`)).page.replaceAll(/<[^>]*>|\s+/g, ' ');
  }

  it('remembers browser and address of its login, for the person and for an admin', async () => {
    const person = new Browser(gatehouse, { address: '203.0.113.9' });
    await requestCode(gatehouse, client, { person });
    const page = await devicesPage(person);
    assert.match(page, /Safari on iOS\s+This device\s+Active now ·\s+203\.0\.113\.9/);
    const [newest] = await sessions();
    assert.equal(newest?.user_agent, IPHONE);
    assert.equal(newest.address, '203.0.113.9');
    assert.match(newest.last_used_at ?? '', /^\d{4}-/);
  });

  it('keeps its last use for an hour, then takes the next one', async () => {
    const person = new Browser(gatehouse, { address: '203.0.113.10' });
    await requestCode(gatehouse, client, { person });
    const lastUse = async (): Promise<unknown> => {
      const [{ user_agent, last_used_at } = { user_agent: null, last_used_at: null }] = await sessions();
      return { user_agent, last_used_at };
    };
    const first = await lastUse();
    moveClock(1_800);
    person.userAgent = 'curl/8';
    await requestCode(gatehouse, client, { person });
    assert.deepEqual(await lastUse(), first, 'the same within the hour');
    moveClock(2_000);
    await requestCode(gatehouse, client, { person });
    const [later] = await sessions();
    assert.equal(later?.user_agent, 'curl/8');
    assert.notDeepEqual(await lastUse(), first);
    const other = new Browser(gatehouse);
    await requestCode(gatehouse, client, { person: other });
    moveClock(2 * 3_600);
    assert.match(await devicesPage(other), /Last used 2 hours ago\s+·\s+203\.0\.113\.10/);
  });

  it('bounds the name that a browser sends, and shows it as text', async () => {
    const person = new Browser(gatehouse);
    person.userAgent = `<b>${'x'.repeat(4_000)}`;
    await requestCode(gatehouse, client, { person });
    const lengths = (await sessions()).map(({ user_agent }) => user_agent?.length);
    assert.equal(Math.max(...lengths.map((length) => length ?? 0)), 400);
    assert.equal((await person.open(`${gatehouse.issuer}/account/devices`)).page.includes('<b>'), false);
    person.userAgent = '';
    assert.equal((await person.open(`${gatehouse.issuer}/account/devices`)).response.status, 200);
  });

  it('of an earlier version, without a device, is shown too', async () => {
    const person = new Browser(gatehouse);
    await requestCode(gatehouse, client, { person });
    await sql`update artifacts set payload = payload - 'device' where kind = 'Session'`.execute(gatehouse.database);
    assert.match(await devicesPage(person), /An unknown device\s+This device\s+Active now/);
    assert.equal((await sessions())[0]?.user_agent, null);
  });
});
