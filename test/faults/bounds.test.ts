import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster } from '../support/node/unreachable_database.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { postForm, requestToken, startGatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { isWithheld, Outage, time } from '../support/node/outage.ts';

describe('service without the database is bounded:', () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await Cluster.start();
  });
  after(() => cluster.stop());

  const prepared = async (
    environment: Readonly<Record<string, string>>,
    work: (outage: Outage) => Promise<void>,
  ): Promise<void> => {
    const outage = await Outage.prepare(cluster, environment);
    try {
      await work(outage);
    } finally {
      await outage.stop();
    }
  };
  const introspected = (outage: Outage, token: string) =>
    time('introspection', () => postForm(`${outage.gatehouse.url}/introspect`, { token }, outage.clients.known));

  it('after the time that is allowed nothing is given, nothing vouched for, and the node asks for no traffic', () =>
    prepared({ GATEHOUSE_OUTAGE_SECONDS: '5' }, async (outage) => {
      const token = await requestToken(outage.gatehouse.url, outage.clients.known);
      outage.given.push(jtiOf(token));
      outage.way.shut();
      await outage.token();
      assert.match((await introspected(outage, token)).text, /"active":true/);
      await eventually(async () => (await outage.check('database')) === '503 not reachable', 15_000);
      isWithheld(await outage.ask());
      isWithheld(await introspected(outage, token));
      assert.equal((await fetch(`${outage.gatehouse.url}/jwks`)).status, 200);
      outage.way.open();
      await outage.isBack();
      await outage.token();
      await outage.everyTokenIsOnRecord();
    }));

  it('with 0 seconds nothing is given that is not on record first', () =>
    prepared({ GATEHOUSE_OUTAGE_SECONDS: '0' }, async (outage) => {
      outage.way.shut();
      isWithheld(await outage.ask());
      await eventually(async () => (await outage.check('database')) === '503 not reachable');
      outage.way.open();
      await outage.isBack();
      await outage.token();
    }));

  it('as many entries are held as the buffer takes, and then no token is given', () =>
    prepared({ GATEHOUSE_OUTAGE_AUDIT_EVENTS: '5' }, async (outage) => {
      outage.way.shut();
      await eventually(async () => (await outage.gauge('gatehouse_database_breaker')) > 0);
      for (let given = 0; given < 5; given++) await outage.token();
      isWithheld(await outage.ask());
      assert.equal(await outage.check('database'), '503 not reachable');
      outage.way.open();
      await outage.isBack();
      await outage.everyTokenIsOnRecord();
      assert.equal(await outage.gauge('gatehouse_audit_entries_held_written_total'), 5);
    }));

  it('refusals take no place in the buffer: a client that guesses learns nothing, and is not written down', () =>
    prepared({ GATEHOUSE_OUTAGE_AUDIT_EVENTS: '5' }, async (outage) => {
      outage.way.shut();
      await eventually(async () => (await outage.gauge('gatehouse_database_breaker')) > 0);
      const { known } = outage.clients;
      for (let guess = 0; guess < 10; guess++) isWithheld(await outage.ask({ ...known, client_secret: 'wrong' }));
      assert.equal(await outage.gauge('gatehouse_audit_entries_held'), 0);
      await outage.token();
      outage.way.open();
      await outage.isBack();
    }));

  it('a request that takes the ordinary path is served like one on the fast path, and any other grant is not', () =>
    prepared({}, async (outage) => {
      const { known } = outage.clients;
      const form = { grant_type: 'client_credentials', note: 'which the fast path does not know' };
      const ask = () => time('a token', () => postForm(`${outage.gatehouse.url}/token`, form, known));
      outage.given.push(jtiOf((JSON.parse((await ask()).text) as { access_token: string }).access_token));
      const lean = await outage.gauge('gatehouse_lean_answers_total');
      outage.way.shut();
      await eventually(async () => (await outage.gauge('gatehouse_database_breaker')) > 0);
      const { response, text } = await ask();
      assert.equal(response.status, 200, text);
      outage.given.push(jtiOf((JSON.parse(text) as { access_token: string }).access_token));
      assert.equal(await outage.gauge('gatehouse_lean_answers_total'), lean);
      outage.way.open();
      await outage.isBack();
      await outage.everyTokenIsOnRecord();
    }));

  it('what is held is in the log at once, and a node that is stopped in that time says how many entries it loses', () =>
    prepared({}, async (outage) => {
      outage.way.shut();
      await eventually(async () => (await outage.gauge('gatehouse_database_breaker')) > 0);
      await outage.token();
      await outage.token();
      // lines of the log leave together, a moment after they were written
      for (const jti of outage.given) {
        await eventually(() => Promise.resolve(outage.gatehouse.log.some((line) => line.includes(jti))));
      }
      await outage.stopNode();
      const lost = outage.gatehouse.log.find((line) => line.includes('audit.entries_lost'));
      assert.equal((JSON.parse(lost ?? '{}') as { entries?: number }).entries, 2);
    }));

  it('a connection that breaks while the database is there costs no client a token, and none is held', () =>
    prepared({}, async (outage) => {
      const kill = `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatehouse'`;
      for (let round = 0; round < 10; round++) {
        await Promise.all([cluster.run(kill), ...Array.from({ length: 10 }, () => outage.token())]);
        await outage.token();
      }
      await outage.isBack();
      await outage.everyTokenIsOnRecord();
    }));

  it('a restart of the database is survived without one of the node', () =>
    prepared({}, async (outage) => {
      const restarting = new AbortController();
      const restarted = cluster.restart().finally(() => restarting.abort());
      while (!restarting.signal.aborted) await outage.token();
      await restarted;
      await outage.isBack();
      await outage.everyTokenIsOnRecord();
    }));

  it('who is revoked on a node that still has its database is refused here as soon as this one has it back', () =>
    prepared({}, async (outage) => {
      const elsewhere = await startGatehouse({
        beside: outage.gatehouse,
        environment: { GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS: '5000' },
        databaseUrl: cluster.url,
      });
      try {
        outage.way.shut();
        await outage.token();
        const path = `/clients/${outage.clients.known.client_id}/revoke`;
        const revoked = await elsewhere.adminCall('POST', path, { reason: 'left' });
        assert.ok(revoked.ok, await revoked.text());
        // not known here yet, which docs/operating.md says
        await outage.token();
        outage.way.open();
        await outage.isBack();
        await eventually(async () => (await outage.ask()).response.status === 401);
        await proofOf(elsewhere);
      } finally {
        await elsewhere.stop();
      }
    }));
});

function jtiOf(token: string): string {
  return (JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { jti: string }).jti;
}
