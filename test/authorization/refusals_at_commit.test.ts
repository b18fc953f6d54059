import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import pg from 'pg';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { Way } from '../support/node/unreachable_database.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { addressOf, pushRequest } from '../support/client/pushed_requests.ts';

const A_WHILE_MILLISECONDS = 15_000;

describe('an authorization whose pushed request another one has used up in the meantime', () => {
  let database: TestDatabase;
  let way: Way;
  let gatehouse: OwnGatehouse;
  let application: RegisteredClient;
  let person: Person;
  let other: pg.Client;
  let third: pg.Client;
  before(async () => {
    database = await cloneDatabase();
    way = await Way.to(database);
    gatehouse = await startGatehouse({
      databaseUrl: way.url(database),
      environment: { GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS: '2000' },
    });
    [other, third] = await Promise.all([connect(), connect()]);
    application = await registerApplication(gatehouse);
  });
  after(async () => {
    await Promise.all([other.end(), third.end()]);
    await gatehouse.stop();
    way.close();
    await database.drop();
  });
  beforeEach(async () => {
    person = new Person(gatehouse);
    await signIn(gatehouse, application, { person });
  });

  it('is refused, and not broken, where its interaction goes as it is refused', async () => {
    const back = await agree();
    await other.query('begin');
    await other.query(`select from artifacts where kind = 'PushedAuthorizationRequest' for update`);
    const answer = person.fetch(back);
    await areHeldUp(1);
    // waits for the request's transaction, and goes before the next one
    const gone = third.query(`delete from artifacts where kind = 'Interaction'`);
    await areHeldUp(2);
    way.slowDown(100);
    await useUp();
    await gone;
    const response = await answer;
    way.open();
    assert.equal(response.status, 303, await response.text());
    assert.match(response.headers.get('location') ?? '', /[?&]error=invalid_request/);
    assert.ok(await isLoggedIn());
  });

  it('leaves its person logged in where it is unknown whether the refusal was committed', async () => {
    const back = await agree();
    await other.query('begin');
    await other.query(`select from artifacts where kind = 'PushedAuthorizationRequest' for update`);
    const answer = person.fetch(back);
    await areHeldUp(1);
    way.muteAt('commit');
    await useUp();
    const response = await answer;
    assert.equal(response.status, 503, await response.text());
    assert.ok(await isRecorded('request_uri.reused'), 'the database has not done what it was asked');
    way.open();
    assert.ok(await isLoggedIn());
  });

  /** Gives the consent; answers with where the browser is sent then. */
  async function agree(): Promise<string> {
    const client = await registerApplication(gatehouse);
    const { page, url } = await person.open(addressOf(gatehouse, client, await pushRequest(gatehouse, client)));
    const action = /action="([^"]*\/consent)"/.exec(page)?.[1] ?? '';
    const body = new URLSearchParams({ decision: 'allow' });
    const response = await person.fetch(new URL(action, url), { method: 'POST', body });
    return new URL(response.headers.get('location')!, url).href;
  }

  /** As another request that was faster. */
  async function useUp(): Promise<void> {
    await other.query(`update artifacts set consumed_at = now() where kind = 'PushedAuthorizationRequest'`);
    await other.query('commit');
  }

  async function isLoggedIn(): Promise<boolean> {
    const url = `${gatehouse.issuer}/authorize?${authorizationRequest(application, { prompt: 'none' })}`;
    let location = '';
    await eventually(async () => {
      const { status, headers } = await person.fetch(url);
      location = headers.get('location') ?? '';
      return status !== 503;
    }, A_WHILE_MILLISECONDS);
    return /[?&]code=/.test(location);
  }

  async function areHeldUp(sessions: number): Promise<void> {
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await eventually(async () => (await other.query(waiting)).rowCount === sessions);
  }

  async function isRecorded(name: string): Promise<boolean> {
    return (await other.query('select from audit_events where event = $1', [name])).rowCount! > 0;
  }

  async function connect(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    return client;
  }
});
