import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Admin, type Answer } from '../support/client/admin.ts';
import { addTo, makeRole } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { newAccount } from '../support/person/authenticator.ts';
import { LinkVisitor, wordsOf } from '../support/person/link_visitor.ts';

const GIVEN = 'keys:read';

describe('a link or code that an admin made for an ordinary account', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  /** An account with a link to a password and an enrolment code, made by an admin with few rights. */
  const prepared = async () => {
    const lesser = await admin.lesser('accounts:links', 'accounts:write');
    const { accountId } = await newAccount(gatehouse);
    const link = await lesser.post(`/accounts/${accountId}/links`, { kind: 'reset', expires_in_seconds: 2_592_000 });
    assert.equal(link.status, 201, link.text);
    assert.equal((await lesser.post(`/accounts/${accountId}/enrolment-code`)).status, 201);
    return { accountId, url: String(link.body['url']), linkId: String(link.body['link_id']) };
  };
  type Prepared = Awaited<ReturnType<typeof prepared>>;

  const use = async ({ url }: Prepared) =>
    wordsOf(await new LinkVisitor(gatehouse).setPassword(url, 'the lesser admin chose it'));
  const ofAccount = async ({ accountId }: Prepared, table: 'account_links' | 'recovery_codes') =>
    (await gatehouse.database.selectFrom(table).select('created_at').where('account_id', '=', accountId).execute())
      .length;
  const eventsOf = (accountId: string) =>
    gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'details'])
      .where('account_id', '=', accountId)
      .where('event', 'in', ['account.link_ended', 'recovery_code.ended'])
      .orderBy('event')
      .execute();
  const assertEnded = async (one: Prepared): Promise<void> => {
    assert.doesNotMatch(await use(one), /Your password is set/);
    assert.deepEqual([await ofAccount(one, 'account_links'), await ofAccount(one, 'recovery_codes')], [0, 0]);
    assert.deepEqual(await eventsOf(one.accountId), [
      { event: 'account.link_ended', details: { link_id: one.linkId, kind: 'reset', reason: 'admin_rights' } },
      { event: 'recovery_code.ended', details: { reason: 'admin_rights' } },
    ]);
  };
  const succeeded = ({ status, text }: Answer): void => assert.ok(status < 300, text);

  it('ends when the account joins a group with scopes of the admin API', async () => {
    const one = await prepared();
    await addTo(admin, await makeRole(admin, gatehouse.admin.resource, GIVEN), one.accountId);
    await assertEnded(one);
  });

  it('ends when a group of the account gets a role with such scopes', async () => {
    const one = await prepared();
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:read');
    await addTo(admin, held, one.accountId);
    const giving = await makeRole(admin, gatehouse.admin.resource, GIVEN);
    succeeded(await admin.patch(`/groups/${held.groupId}`, { roles: [held.role, giving.role] }));
    await assertEnded(one);
  });

  it('ends when a role of the account gets such scopes', async () => {
    const one = await prepared();
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:read');
    await addTo(admin, held, one.accountId);
    const resources = [
      { resource: gatehouse.demo.resource, scopes: ['notes:read'] },
      { resource: gatehouse.admin.resource, scopes: [GIVEN] },
    ];
    succeeded(await admin.patch(`/roles/${held.role}`, { resources }));
    await assertEnded(one);
  });

  it('works while the account gets other rights or loses some', async () => {
    const one = await prepared();
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:read');
    await addTo(admin, held, one.accountId);
    const other = await makeRole(admin, gatehouse.demo.resource, 'notes:write');
    succeeded(await admin.patch(`/groups/${held.groupId}`, { roles: [held.role, other.role] }));
    const resources = [{ resource: gatehouse.demo.resource, scopes: ['notes:read', 'notes:write'] }];
    succeeded(await admin.patch(`/roles/${held.role}`, { resources }));
    assert.equal(await ofAccount(one, 'recovery_codes'), 1);
    assert.match(await use(one), /Your password is set/);
    assert.deepEqual(await eventsOf(one.accountId), []);
  });

  it('ends for each of many members of a group', async () => {
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:read');
    await manyMembers(held.groupId, 1_201);
    const giving = await makeRole(admin, gatehouse.admin.resource, GIVEN);
    succeeded(await admin.patch(`/groups/${held.groupId}`, { roles: [giving.role] }));
    const links = await gatehouse.database.selectFrom('account_links').select('link_id').execute();
    assert.deepEqual(
      links.filter(({ link_id }) => link_id.startsWith('many_')),
      [],
    );
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select('account_id')
      .where('event', '=', 'account.link_ended')
      .where('account_id', 'like', 'many_%')
      .execute();
    assert.equal(new Set(events.map(({ account_id }) => account_id)).size, 1_201);
  });

  it('is not lost sight of when it is made at the same moment', async () => {
    const one = await prepared();
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:read');
    await addTo(admin, held, one.accountId);
    const giving = await makeRole(admin, gatehouse.admin.resource, GIVEN);
    await during(
      [
        `select from accounts where account_id = '${one.accountId}' for no key update`,
        `insert into account_links (link_id, digest, account_id, kind, created_at, expires_at)
          values ('late', '\\x00', '${one.accountId}', 'reset', now(), now() + interval '1 day')`,
      ],
      async () => succeeded(await admin.patch(`/groups/${held.groupId}`, { roles: [giving.role] })),
    );
    assert.equal(await ofAccount(one, 'account_links'), 0);
  });

  it('gives no way up while a role of the group gets such scopes', async () => {
    const one = await prepared();
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:read');
    const lesser = await admin.lesser('groups:write');
    await during(
      [
        `select from roles where name = '${held.role}' for update`,
        `insert into role_resources values ('${held.role}', '${gatehouse.admin.resource}', '{${GIVEN}}')`,
      ],
      async () => {
        const answer = await lesser.post(`/groups/${held.groupId}/members`, { account_id: one.accountId });
        assert.equal(answer.status, 403, answer.text);
      },
    );
  });

  /** Makes accounts with one link each, and adds them to a group. */
  const manyMembers = async (groupId: string, many: number): Promise<void> => {
    const client = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await client.connect();
    await client.query(`insert into accounts (account_id, email, created_at, updated_at)
      select 'many_' || n, 'many' || n || '@example.com', now(), now() from generate_series(1, ${many}) as n`);
    await client.query(`insert into group_members (account_id, group_id, by_hand, added_at)
      select 'many_' || n, '${groupId}', true, now() from generate_series(1, ${many}) as n`);
    await client.query(`insert into account_links (link_id, digest, account_id, kind, created_at, expires_at)
      select 'many_' || n, sha256(n::text::bytea), 'many_' || n, 'first_password', now(), now() + interval '1 day'
      from generate_series(1, ${many}) as n`);
    await client.end();
  };

  /** Sends a call while another transaction has made these changes and is not committed yet; then commits it. */
  const during = async (statements: readonly string[], call: () => Promise<void>): Promise<void> => {
    const client = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await client.connect();
    await client.query('begin');
    for (const statement of statements) await client.query(statement);
    const answered = call();
    await sleep(500);
    await client.query('commit');
    await client.end();
    await answered;
  };
});
