import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SYSTEM } from '../../src/audit/events.ts';
import { ensureAdminResource } from '../../src/bootstrap/admin_access.ts';
import { transact } from '../../src/db/transaction.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { openTrail } from '../support/node/audit_trail.ts';

describe('the admin API as a resource', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  /** What a node of another version does when it starts on the same database. */
  async function startAnotherVersion(names: readonly string[]): Promise<void> {
    const { database, admin } = gatehouse;
    const trail = await openTrail(database);
    const scopes = names.map((name) => ({ name, description: 'Of another version' }));
    await transact(database, (tx) =>
      ensureAdminResource({ tx, trail, origin: SYSTEM, now: new Date() }, { identifier: admin.resource, scopes }),
    );
  }

  async function scopesOfResource(): Promise<string[]> {
    const response = await gatehouse.adminCall('GET', `/resources/${encodeURIComponent(gatehouse.admin.resource)}`);
    return ((await response.json()) as { scopes: { name: string }[] }).scopes.map((scope) => scope.name);
  }

  it('keeps its scopes, and admins theirs, when an older version starts beside this one', async () => {
    const known = await scopesOfResource();
    await startAnotherVersion(['clients:read']);
    assert.deepEqual(await scopesOfResource(), known);
    assert.equal((await gatehouse.adminCall('GET', '/keys')).status, 200);
  });

  it('gains the scopes that a newer version brings', async () => {
    await startAnotherVersion(['clients:read', 'webhooks:write']);
    const { scopes } = await gatehouse.database
      .selectFrom('resources')
      .select('scopes')
      .where('identifier', '=', gatehouse.admin.resource)
      .executeTakeFirstOrThrow();
    assert.ok(scopes.some((scope) => scope.name === 'webhooks:write'));
    assert.ok(scopes.some((scope) => scope.name === 'keys:rotate'));
  });
});
