import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { MFA_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { BothPaths, ofRefresh, type Form } from '../support/client/both_paths.ts';
import { registerApplication } from '../support/client/code_flow.ts';
import { addTo, demoAccountId, makeRole } from '../support/client/roles.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Way } from '../support/node/unreachable_database.ts';

/** So many that some of them meet nothing that the node does by itself on a busy machine. */
const TRIES = 12;
/** Only while answers are late, what is sent together counts as one round trip (`Way.roundTrips`). */
const LATE_MILLISECONDS = 15;

describe('a refresh of a person’s token', () => {
  let database: TestDatabase;
  let way: Way;
  let gatehouse: OwnGatehouse;
  let admin: Admin;
  before(async () => {
    database = await cloneDatabase();
    way = await Way.to(database);
    gatehouse = await startGatehouse({ databaseUrl: way.url(database), withoutNotify: true });
    admin = await Admin.of(gatehouse);
  });
  after(async () => {
    await gatehouse?.stop();
    way.close();
    await database.drop();
  });

  it('asks the database no more often where roles, groups, claims and demands are defined', async () => {
    const both = new BothPaths(gatehouse);
    const client = await registerApplication(gatehouse, {
      id_token_signed_response_alg: 'ES256',
      account_claims: ['groups', 'roles'],
    });
    /** The fewest round trips of several refreshes: the node also reads its change log now and then. */
    const fewest = async (send: (form: Form, client: RegisteredClient) => ReturnType<BothPaths['lean']>) => {
      let [form] = await both.refreshes(client);
      const counts: number[] = [];
      for (let index = 0; index < TRIES; index++) {
        way.slowDown(LATE_MILLISECONDS);
        const earlier = way.roundTrips;
        const answer = await send(form, client).finally(() => way.slowDown(0));
        assert.equal(answer.status, 200);
        counts.push(way.roundTrips - earlier);
        form = ofRefresh(answer);
      }
      return Math.min(...counts);
    };
    const paths = [both.lean.bind(both), both.ordinary.bind(both)];
    const before_ = [await fewest(paths[0]!), await fewest(paths[1]!)];
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:write');
    await addTo(admin, held, await demoAccountId(admin));
    await admin.post('/groups', { name: 'Others', required_acr: MFA_ACR });
    const after_ = [await fewest(paths[0]!), await fewest(paths[1]!)];
    assert.deepEqual(after_, before_);
    assert.ok(before_.every((count) => count > 0));
  });
});
