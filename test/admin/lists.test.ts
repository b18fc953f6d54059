import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin, type Body } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('lists of the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    for (const name of ['Ant', 'Bee', 'Cat', 'Dog', 'Emu']) {
      await admin.post('/clients', { client_name: `Paged ${name}` });
      await admin.post('/accounts', { email: `${name}@paged.example.com`, name: `Paged ${name}` });
      const scopes = [{ name: 'x', description: 'X' }];
      await admin.post('/resources', { identifier: `https://${name.toLowerCase()}.paged.example.com`, scopes });
    }
  });
  after(() => gatehouse.stop());

  /** Every item, a page at a time. */
  const walk = async (path: string): Promise<Body[]> => {
    const items: Body[] = [];
    let cursor: string | undefined;
    for (let pages = 0; pages < 100; pages++) {
      const { status, body, text } = await admin.get(cursor === undefined ? path : `${path}&cursor=${cursor}`);
      assert.equal(status, 200, text);
      items.push(...body.items);
      cursor = body.next_cursor;
      if (cursor === undefined) return items;
    }
    throw new Error('The list has no end.');
  };

  it('are walked page by page, each item once and in order', async () => {
    for (const limit of [1, 2, 5, 6]) {
      const clients = await walk(`/clients?q=paged&limit=${limit}`);
      assert.deepEqual(
        clients.map((client) => client['client_name']),
        ['Paged Ant', 'Paged Bee', 'Paged Cat', 'Paged Dog', 'Paged Emu'],
      );
      const accounts = await walk(`/accounts?q=paged.example&limit=${limit}`);
      assert.deepEqual(
        accounts.map((account) => account['email']),
        ['ant', 'bee', 'cat', 'dog', 'emu'].map((name) => `${name}@paged.example.com`),
      );
    }
    const resources = (await walk('/resources?limit=3')).map((resource) => String(resource['identifier']));
    assert.equal(resources.length, 7);
    assert.deepEqual(resources, resources.toSorted());
  });

  it('take a limit in decimal digits alone (FIELD-E9)', async () => {
    for (const list of ['/clients', '/accounts', '/resources', '/audit-events']) {
      for (const limit of ['1e2', '0x10', ' 5', '%2B5', '5.0', '', '-1', 'Infinity', '201', '0', '9'.repeat(400)]) {
        const { status, body } = await admin.get(`${list}?limit=${limit}`);
        assert.equal(status, 400, `${list}?limit=${limit}`);
        assert.equal(body.errors[0]?.parameter, 'limit');
      }
      assert.equal((await admin.get(`${list}?limit=005`)).status, 200);
    }
  });

  it('continue where they were when an entry is added or removed between two pages', async () => {
    const first = await admin.get('/clients?q=paged&limit=2');
    const { body: added } = await admin.post('/clients', { client_name: 'Paged Fox' });
    await admin.delete(`/clients/${first.body.items[1]?.client_id}`);
    const rest = await admin.get(`/clients?q=paged&limit=200&cursor=${first.body.next_cursor}`);
    assert.deepEqual(
      rest.body.items.map((item) => item['client_name']),
      ['Paged Cat', 'Paged Dog', 'Paged Emu', 'Paged Fox'],
    );
    await admin.delete(`/clients/${added.client_id}`);
    await admin.post('/clients', { client_name: 'Paged Bee' });
  });

  it('refuse cursors that were forged, changed, or made for another list or filter (GHSA-r9w3-57w2-gch2)', async () => {
    const { body: clients } = await admin.get('/clients?q=paged&limit=1');
    const { body: accounts } = await admin.get('/accounts?q=paged&limit=1');
    const genuine = clients.next_cursor;
    const plain = Buffer.from(
      JSON.stringify({ created_at: '2020-01-01T00:00:00.000Z', client_id: "' or 1=1 --" }),
    ).toString('base64url');
    const flipped = `${genuine.slice(0, 40)}${genuine[40] === 'A' ? 'B' : 'A'}${genuine.slice(41)}`;
    const bad: readonly string[] = [
      `/clients?q=paged&cursor=${flipped}`,
      `/clients?q=paged&cursor=${plain}`,
      `/clients?q=paged&cursor=${genuine.slice(0, 20)}`,
      `/clients?q=paged&cursor=`,
      `/clients?q=paged&cursor=x`,
      `/clients?q=paged&cursor=${accounts.next_cursor}`,
      `/clients?q=other&cursor=${genuine}`,
      `/clients?cursor=${genuine}`,
      `/accounts?q=paged&cursor=${genuine}`,
      `/audit-events?cursor=${genuine}`,
      `/resources?cursor=${genuine}`,
      `/clients?cursor=${'x'.repeat(1_025)}`,
    ];
    for (const path of bad) {
      const { status, body } = await admin.get(path);
      assert.deepEqual([status, body.errors?.[0]?.parameter], [400, 'cursor'], path);
    }
    assert.equal(
      (await admin.get(`/clients?q=paged&cursor=${genuine}&limit=200`)).status,
      200,
      'The limit may change.',
    );
  });

  it('tell nothing in a cursor', async () => {
    const { body } = await admin.get('/accounts?limit=1');
    const cursor = Buffer.from(body.next_cursor, 'base64url').toString('latin1');
    assert.ok(!/account|20\d\d-/.test(cursor), cursor);
  });

  it('take a limit of 1 to 200, and 50 by default', async () => {
    for (const limit of ['0', '-1', '201', '1.5', 'all', '', '1e9', '9'.repeat(400)]) {
      const { status, body } = await admin.get(`/clients?limit=${limit}`);
      assert.deepEqual([status, body.errors?.[0]?.parameter], [400, 'limit'], limit);
    }
    assert.equal((await admin.get('/clients?limit=200')).status, 200);
  });

  it('refuse parameters that they don’t know, or that come twice', async () => {
    const cases: readonly [query: string, parameter: string][] = [
      ['/clients?serach=x', 'serach'],
      ['/clients?limit=1&limit=2', 'limit'],
      ['/clients?limit[$gt]=1', 'limit[$gt]'],
      ['/clients?__proto__=1', '__proto__'],
      ['/clients?q=%00', 'q'],
      ['/clients?q=', 'q'],
      ['/clients?overdue=maybe', 'overdue'],
      [`/clients/${gatehouse.demo.client_id}?fields=all`, 'fields'],
      ['/keys?status=next', 'status'],
      ['/audit-events?outcome=failure', 'outcome'],
      ['/audit-events?order=random', 'order'],
      ['/audit-events?from=yesterday', 'from'],
      ['/audit-events?to=2026-02-30T00:00:00Z', 'to'],
    ];
    for (const [path, parameter] of cases) {
      const { status, body } = await admin.get(path);
      assert.deepEqual([status, body.errors?.[0]?.parameter], [400, parameter], path);
    }
  });

  it('read what means something to SQL as plain text', async () => {
    await admin.post('/clients', { client_name: '100% o\'clock_\\ "quoted"' });
    const found = async (q: string): Promise<unknown[]> =>
      (await admin.get(`/clients?q=${encodeURIComponent(q)}`)).body.items.map((item) => item['client_name']);
    assert.deepEqual(await found('100%'), ['100% o\'clock_\\ "quoted"']);
    assert.deepEqual(await found('%'), ['100% o\'clock_\\ "quoted"']);
    assert.deepEqual(await found('_\\ '), ['100% o\'clock_\\ "quoted"']);
    assert.deepEqual(await found('\\'), ['100% o\'clock_\\ "quoted"']);
    assert.deepEqual(await found("o'clock"), ['100% o\'clock_\\ "quoted"']);
    const since = new Date(Date.now() - 86_400_000).toISOString();
    for (const hostile of [
      "' or '1'='1",
      "'; drop table clients; --",
      '$1',
      '${x}',
      '%%%%',
      '\u{1F600}',
      '"',
      '/**/',
    ]) {
      const answers = [
        await admin.get(`/clients?q=${encodeURIComponent(hostile)}`),
        await admin.get(`/accounts?q=${encodeURIComponent(hostile)}`),
        await admin.get(`/audit-events?client_id=${encodeURIComponent(hostile)}`),
        await admin.get(`/audit-events?from=${since}&resource=${encodeURIComponent(hostile)}`),
      ];
      for (const { status } of answers) assert.equal(status, 200, hostile);
      assert.equal((await admin.get(`/clients/${encodeURIComponent(hostile)}`)).status, 404, hostile);
    }
    assert.ok((await admin.get('/clients')).body.items.length > 5, 'The clients are still there.');
  });

  it('answer odd paths with a problem, never a 5xx', async () => {
    const odd = [
      '/clients/%00',
      '/clients/%ff',
      '/clients/%ed%a0%80',
      '/clients/',
      '/Clients',
      '/clients//secrets',
      `/clients/${'x'.repeat(600)}`,
      '/accounts/a%2Fb',
      '',
      '/',
    ];
    for (const path of odd) {
      const { status, headers } = await admin.get(path);
      assert.ok(status === 404 || status === 400, `${path}: ${status}`);
      assert.equal(headers.get('content-type'), 'application/problem+json', path);
    }
  });
});
