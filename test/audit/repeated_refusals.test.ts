import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { postForm, startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';

const HOUR_SECONDS = 3_600;
const HTML = { accept: 'text/html' };

interface Recorded {
  readonly client_id: string | null;
  readonly actor_type: string;
  readonly request_id: string | null;
  readonly details: { readonly repeated?: { readonly count: number; readonly network: string | null } };
}

describe('refusals that repeat', () => {
  let gatehouse: OwnGatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1/32' } });
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const from = (address: string) => ({ 'x-forwarded-for': address });
  const junk = (address: string, path = '/userinfo') =>
    fetch(gatehouse.url + path, { headers: { authorization: 'Bearer junk', ...from(address) } });

  const rowsOf = (event: string, address: string): Promise<Recorded[]> =>
    gatehouse.database
      .selectFrom('audit_events')
      .select(['client_id', 'actor_type', 'request_id', 'details'])
      .where('event', '=', event)
      .where('address', '=', address)
      .orderBy('occurred_at')
      .orderBy('sequence')
      .execute();

  async function times(count: number, ask: () => Promise<Response>): Promise<Response[]> {
    const answers: Response[] = [];
    for (let n = 0; n < count; n++) answers.push(await ask());
    return answers;
  }

  it('are one entry from the sixth on, written when their hour is over, and then begin anew (FIELD-B6)', async () => {
    await times(12, () => junk('198.51.100.1'));
    await gatehouse.runJobs();
    assert.equal((await rowsOf('userinfo.refused', '198.51.100.1')).length, 5);
    moveClock(HOUR_SECONDS);
    await gatehouse.runJobs();
    const rows = await rowsOf('userinfo.refused', '198.51.100.1');
    assert.deepEqual(
      rows.map(({ details }) => details.repeated?.count),
      [undefined, undefined, undefined, undefined, undefined, 7],
    );
    await times(6, () => junk('198.51.100.1'));
    assert.equal((await rowsOf('userinfo.refused', '198.51.100.1')).length, 11);
    await proofOf(gatehouse);
  });

  it('are counted for each network, each kind and each client apart', async () => {
    await times(6, () => junk('198.51.100.2'));
    await times(3, () => junk('198.51.100.3'));
    await times(3, () => junk('198.51.100.2', '/admin/v1/clients'));
    const authorize = (client: string) => () =>
      fetch(`${gatehouse.url}/authorize?client_id=${client}`, { headers: from('198.51.100.2') });
    await times(6, authorize(gatehouse.demo.client_id));
    await times(6, authorize('unknown'));
    assert.equal((await rowsOf('userinfo.refused', '198.51.100.2')).length, 5);
    assert.equal((await rowsOf('userinfo.refused', '198.51.100.3')).length, 3);
    assert.equal((await rowsOf('admin_call.refused', '198.51.100.2')).length, 3);
    const clients = (await rowsOf('authorization.refused', '198.51.100.2')).map(({ client_id }) => client_id);
    assert.deepEqual(clients, [...Array<string>(5).fill(gatehouse.demo.client_id), ...Array<null>(5).fill(null)]);
  });

  it('of a client that proved itself are counted by the same rule, and say which client it was', async () => {
    const form = { grant_type: 'client_credentials', scope: 'never:heard-of' };
    await times(8, () => postForm(`${gatehouse.url}/token`, form, gatehouse.demo, from('198.51.100.4')));
    await postForm(
      `${gatehouse.url}/token`,
      { grant_type: 'client_credentials' },
      gatehouse.demo,
      from('198.51.100.4'),
    );
    moveClock(HOUR_SECONDS);
    await gatehouse.runJobs();
    const rows = await rowsOf('token.refused', '198.51.100.4');
    assert.equal(rows.length, 6);
    assert.equal(rows.at(-1)?.details.repeated?.count, 3);
    for (const { client_id, actor_type } of rows) {
      assert.deepEqual([client_id, actor_type], [gatehouse.demo.client_id, 'client']);
    }
  });

  it('take nothing from what succeeds: every token is an entry of its own', async () => {
    const form = { grant_type: 'client_credentials' };
    await times(9, () => postForm(`${gatehouse.url}/token`, form, gatehouse.demo, from('198.51.100.5')));
    assert.equal((await rowsOf('token.issued', '198.51.100.5')).length, 9);
  });

  it('show a request id where it can be found, and none where it can’t (FIELD-B6)', async () => {
    const pages = await times(7, () =>
      fetch(`${gatehouse.url}/authorize?client_id=unknown`, { headers: { ...HTML, ...from('198.51.100.6') } }),
    );
    const own = (await rowsOf('authorization.refused', '198.51.100.6')).map(({ request_id }) => request_id);
    for (const [index, page] of pages.entries()) {
      const text = await page.text();
      assert.match(text, /invalid_client/);
      const id = page.headers.get('x-request-id')!;
      assert.equal(text.includes(id), index < 5, `page ${index}`);
      assert.equal(own.includes(id), index < 5, `row ${index}`);
    }
    const problems = await times(7, () => junk('198.51.100.6', '/admin/v1/clients'));
    for (const [index, problem] of problems.entries()) {
      const { request_id } = (await problem.json()) as { request_id?: string };
      assert.equal(request_id, index < 5 ? problem.headers.get('x-request-id') : undefined);
    }
    // nothing is recorded about a page that is not there
    const nowhere = await fetch(`${gatehouse.url}/approve/nothing`, { method: 'POST', headers: HTML });
    assert.ok(!(await nowhere.text()).includes(nowhere.headers.get('x-request-id')!));
  });

  it('under ever new names are counted together, so that a sender can’t fill the trail or the memory (FIELD-B6)', async () => {
    const admin = await Admin.of(gatehouse);
    const clients = await Promise.all(
      Array.from({ length: 110 }, (_, n) => admin.post('/clients', { client_name: `Named ${n}` })),
    );
    for (const { body } of clients) {
      await fetch(`${gatehouse.url}/authorize?client_id=${body.client_id}`, { headers: from('198.51.100.7') });
    }
    // a hundred clients by name, then five of the others
    assert.equal((await rowsOf('authorization.refused', '198.51.100.7')).length, 105);
    moveClock(HOUR_SECONDS);
    await gatehouse.runJobs();
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select(['client_id', 'actor_type', 'details'])
      .where('event', '=', 'authorization.refused')
      .orderBy('occurred_at', 'desc')
      .limit(5)
      .execute();
    const counted = (rows as unknown as Recorded[]).find(({ details }) => details.repeated?.network === '198.51.100.7');
    assert.deepEqual([counted?.client_id, counted?.details.repeated?.count], [null, 5]);
  });
});
