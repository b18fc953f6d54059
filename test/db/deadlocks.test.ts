import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient } from '../support/node/operator.ts';

describe('a change that meets another in the wrong order', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let other: pg.Client;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    other = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await other.connect();
  });
  after(async () => {
    await other.end();
    await gatehouse.stop();
  });

  const waits =
    (table: string, client: () => pg.Client = () => other) =>
    async (): Promise<boolean> =>
      (await client().query('select 1 from pg_locks where relation = $1::regclass and not granted', [table])).rows
        .length > 0;

  const recordsOf = async (clientId: string): Promise<number> => {
    const events = gatehouse.database.selectFrom('audit_events').select('event').where('client_id', '=', clientId);
    return (await events.where('event', '=', 'client.revoked').execute()).length;
  };

  it('gives way, and is done again when the other one is through, once', async () => {
    const { client_id: clientId } = await registerClient(gatehouse);
    // as a migration that has changed one table and wants to change the next
    await other.query('begin');
    await other.query('lock table client_secrets in access exclusive mode');
    const revoking = admin.post(`/clients/${clientId}/revoke`, { reason: 'stolen' });
    await eventually(waits('client_secrets'));
    // a deadlock: PostgreSQL checks for it first in the statement that waited first, and ends that one; the machine may
    // be so busy that the order is only certain with time between them
    await delay(500);
    await other.query('lock table clients in access exclusive mode');
    await other.query('commit');
    const { status } = await revoking;
    assert.equal(status, 200);
    assert.equal(await recordsOf(clientId), 1);
  });

  it('gives way to a migration that begins to wait for a table in the middle of the change', async () => {
    const { client_id: clientId } = await registerClient(gatehouse);
    const third = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await third.connect();
    try {
      // holds up the change between what it reads and what it writes
      await third.query('begin');
      await third.query('lock table client_secrets in access exclusive mode');
      const revoking = admin.post(`/clients/${clientId}/revoke`, { reason: 'stolen' });
      await eventually(waits('client_secrets'));
      await other.query('begin');
      await other.query('create table later_things (client_id text references clients)');
      const migrating = other.query('alter table clients add column later_motto text');
      await eventually(waits('clients', () => third));
      await third.query('commit');
      await migrating;
      await other.query('commit');
      const { status } = await revoking;
      assert.equal(status, 200);
      assert.equal(await recordsOf(clientId), 1);
    } finally {
      await third.end();
    }
  });
});
