import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';

describe('health', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    // the database's absence is shown at once; how a node stands without it: faults/
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_OUTAGE_SECONDS: '0' } });
  });
  after(() => gatehouse.stop());

  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(gatehouse.managementUrl + path, init);
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const checks = async (): Promise<Record<string, string>> => {
    const { text } = await ask('/readyz');
    return (JSON.parse(text) as { checks: Record<string, string> }).checks;
  };

  it('says that the process is alive', async () => {
    const { status, text } = await ask('/healthz');
    assert.deepEqual([status, JSON.parse(text)], [200, { status: 'alive' }]);
  });

  it('says that the node may get traffic, and what it looked at', async () => {
    assert.equal((await ask('/readyz')).status, 200);
    assert.deepEqual(await checks(), { database: 'ok', change_log: 'ok', clock: 'ok', egress: 'ok', shutdown: 'ok' });
  });

  it('is not for the public: the public port has none of it', async () => {
    for (const path of ['/healthz', '/readyz', '/metrics']) {
      const response = await fetch(gatehouse.url + path);
      await response.body?.cancel();
      assert.equal(response.status, 404, path);
    }
  });

  it('is read only, and stored by no cache', async () => {
    assert.equal((await ask('/healthz', { method: 'POST' })).status, 405);
    assert.equal((await ask('/nothing')).status, 404);
    for (const path of ['/healthz', '/readyz', '/metrics']) {
      assert.equal((await ask(path)).headers.get('cache-control'), 'no-store');
    }
  });

  describe('as metrics', () => {
    it('counts requests by method, route and status', async () => {
      await requestToken(gatehouse.url, gatehouse.demo);
      await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials' });
      const { text, headers } = await ask('/metrics');
      assert.match(headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
      assert.match(text, /gatehouse_http_requests_total\{method="POST",route="\/token",status="200"\} \d+/);
      assert.match(text, /gatehouse_http_requests_total\{method="POST",route="\/token",status="4\d\d"\} \d+/);
      assert.match(text, /gatehouse_http_request_duration_seconds_bucket\{le="0\.01",route="\/token"\} \d+/);
    });

    it('shows what an operator must watch', async () => {
      const { text } = await ask('/metrics');
      for (const name of [
        'gatehouse_audit_events_waiting',
        'gatehouse_change_log_age_seconds',
        'gatehouse_database_connections',
        'gatehouse_database_connections_idle',
        'gatehouse_database_requests_waiting',
        'process_resident_memory_bytes',
        'nodejs_eventloop_lag_p99_seconds',
      ]) {
        assert.match(text, new RegExp(`^${name} [\\d.e+-]+$`, 'm'), name);
      }
      const [, age] = /^gatehouse_change_log_age_seconds ([\d.e+-]+)$/m.exec(text) ?? [];
      assert.equal(Number(age) < 5, true);
    });

    it('does not grow with what strangers ask for', async () => {
      // Node's own metrics come and go with what the process has open
      const lines = async (): Promise<number> =>
        (await ask('/metrics')).text.split('\n').filter((line) => line.startsWith('gatehouse_')).length;
      const probe = async (path: string, method = 'GET'): Promise<void> => {
        const response = await fetch(gatehouse.url + path, { method });
        await response.body?.cancel();
      };
      await probe('/one');
      await probe('/one', 'PROPFIND');
      const known = await lines();
      for (let n = 0; n < 20; n++) await probe(`/path-${n}?q=${n}`);
      for (const method of ['LOCK', 'MKCOL', 'SEARCH']) await probe('/x', method);
      assert.equal(await lines(), known);
    });

    it('holds nothing secret', async () => {
      const { text } = await ask('/metrics');
      assert.equal(text.includes(gatehouse.demo.client_id), false);
      assert.equal(text.includes(gatehouse.account.email), false);
    });
  });

  it('says no while the database is gone, and yes again when it is back; the process stays alive', async () => {
    const { pathname } = new URL(gatehouse.databaseUrl);
    const name = pathname.slice(1);
    const elsewhere = new URL(gatehouse.databaseUrl);
    elsewhere.pathname = '/postgres';
    const operator = new pg.Client({ connectionString: elsewhere.href });
    await operator.connect();
    try {
      await operator.query(`alter database ${name} allow_connections false`);
      await operator.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name]);
      await eventually(async () => (await ask('/readyz')).status === 503);
      assert.equal((await checks())['database'], 'not reachable');
      assert.equal((await ask('/healthz')).status, 200);
      // APIs can still verify tokens, and no client gets a token without an audit entry
      assert.equal((await fetch(`${gatehouse.url}/jwks`)).status, 200);
      const { client_id, client_secret } = gatehouse.demo;
      const form = { grant_type: 'client_credentials' };
      const refused = await postForm(`${gatehouse.url}/token`, form, { client_id, client_secret });
      assert.equal(refused.status, 503, await refused.text());
      assert.equal(refused.headers.get('retry-after'), '1');
    } finally {
      await operator.query(`alter database ${name} allow_connections true`);
      await operator.end();
    }
    await eventually(async () => (await ask('/readyz')).status === 200);
    await requestToken(gatehouse.url, gatehouse.demo);
  });
});
