import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { CompiledQuery } from 'kysely';
import { Admin } from '../support/client/admin.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { LinkVisitor, wordsOf } from '../support/person/link_visitor.ts';
import { LoginForm } from '../support/person/login_form.ts';

const PASSWORD = 'a password of several words';

describe('the links of an account in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  it('are returned where the server sends no mails, and lead to a first password', async () => {
    const { id, email } = await makeAccount();
    const { status, body } = await admin.post(`/accounts/${id}/links`, { kind: 'first_password' });
    assert.deepEqual([status, body['kind'], body['sent_to']], [201, 'first_password', null]);
    const link = String(body['url']);
    assert.match(link, /^http:\/\/127\.0\.0\.1:\d+\/link\/[\w-]{43}$/);
    const done = await new LinkVisitor(gatehouse).setPassword(link, PASSWORD);
    assert.match(wordsOf(done), /Your password is set/);
    assert.equal(await logInWith(email, PASSWORD), 303);
    // without a mail, nothing proves the address
    assert.equal((await admin.get(`/accounts/${id}`)).body['email_verified'], false);
  });

  it('need the scope accounts:links, which writing accounts does not include', async () => {
    const { id } = await makeAccount();
    const writer = await admin.lesser('accounts:write', 'accounts:read');
    assert.equal((await writer.post(`/accounts/${id}/links`, { kind: 'first_password' })).status, 403);
    const sender = await admin.lesser('accounts:links');
    assert.equal((await sender.post(`/accounts/${id}/links`, { kind: 'first_password' })).status, 201);
    assert.equal((await sender.get(`/accounts/${id}/links`)).status, 403);
    assert.equal((await writer.get(`/accounts/${id}/links`)).status, 200);
  });

  it('end when another one is made, used, or the account is changed', async () => {
    const { id, email } = await makeAccount();
    const first = await makeLink(id);
    const second = await makeLink(id);
    assert.equal(await statusOf(first), 404);
    assert.equal(await statusOf(second), 200);
    await admin.patch(`/accounts/${id}`, { password: PASSWORD });
    assert.equal(await statusOf(second), 404);

    const reset = await makeLink(id, 'reset');
    await admin.patch(`/accounts/${id}`, { email: `moved.${email}` });
    assert.equal(await statusOf(reset), 404);
    const disabled = await makeLink(id, 'reset');
    await admin.post(`/accounts/${id}/disable`);
    assert.equal((await admin.post(`/accounts/${id}/links`, { kind: 'reset' })).status, 409);
    await admin.post(`/accounts/${id}/enable`);
    assert.equal(await statusOf(disabled), 404);
  });

  it('expire after the time that the admin chose', async () => {
    const { id } = await makeAccount();
    const { body } = await admin.post(`/accounts/${id}/links`, { kind: 'first_password', expires_in_seconds: 600 });
    const visitor = new LinkVisitor(gatehouse);
    const page = await visitor.open(String(body['url']));
    moveClock(590);
    assert.equal(await statusOf(String(body['url'])), 200);
    moveClock(11);
    assert.equal(await statusOf(String(body['url'])), 404);
    const late = await visitor.send(page, { new_password: PASSWORD });
    resetClock();
    assert.deepEqual([late.response.status, await hasPassword(id)], [404, false]);
  });

  it('are listed without their values, and ended one by one', async () => {
    const { id } = await makeAccount();
    const link = await makeLink(id);
    const { body, text } = await admin.get(`/accounts/${id}/links`);
    const [item] = body.items;
    assert.equal(item?.['kind'], 'first_password');
    assert.ok(!text.includes(link.slice(-43)));
    assert.equal((await admin.delete(`/accounts/${id}/links/${String(item?.['link_id'])}`)).status, 204);
    assert.equal((await admin.delete(`/accounts/${id}/links/${String(item?.['link_id'])}`)).status, 404);
    assert.equal(await statusOf(link), 404);
    assert.deepEqual((await admin.get(`/accounts/${id}/links`)).body.items, []);
  });

  it('are refused for what the account does not need, or for no account', async () => {
    const { id } = await makeAccount();
    assert.equal((await admin.post(`/accounts/${id}/links`, { kind: 'reset' })).status, 409);
    await admin.patch(`/accounts/${id}`, { password: PASSWORD });
    assert.equal((await admin.post(`/accounts/${id}/links`, { kind: 'first_password' })).status, 409);
    assert.equal((await admin.post('/accounts/account_none/links', { kind: 'reset' })).status, 404);
    assert.equal((await admin.get('/accounts/account_none/links')).status, 404);
    for (const body of [
      {},
      { kind: 'email_change' },
      { kind: 'reset', expires_in_seconds: 1 },
      { kind: 'reset', to: 'x' },
    ])
      assert.equal((await admin.post(`/accounts/${id}/links`, body)).status, 400, JSON.stringify(body));
  });

  it('are on record without their values, which are nowhere in the database or the log', async () => {
    const { id } = await makeAccount();
    const link = await makeLink(id);
    const value = link.slice(-43);
    await new LinkVisitor(gatehouse).setPassword(link, PASSWORD);
    const events = await admin.get(`/audit-events?account_id=${id}`);
    const names = events.body.items.map((item) => item['event']);
    for (const event of ['account.link_created', 'account.link_used', 'account.password_changed'])
      assert.ok(names.includes(event), event);
    assert.ok(!events.text.includes(value));
    assert.ok(!gatehouse.log.some((line) => line.includes(value) || line.includes(PASSWORD)));
    const { rows } = await gatehouse.database.executeQuery<{ dump: string }>(
      CompiledQuery.raw(`select string_agg(row_to_json(l)::text, '') as dump from account_links l`),
    );
    assert.ok(!String(rows[0]?.dump).includes(value));
  });

  it('are the same again for the same Idempotency-Key', async () => {
    const { id } = await makeAccount();
    const headers = { 'idempotency-key': crypto.randomUUID() };
    const [first, second] = [
      await admin.post(`/accounts/${id}/links`, { kind: 'first_password' }, headers),
      await admin.post(`/accounts/${id}/links`, { kind: 'first_password' }, headers),
    ];
    assert.deepEqual([second.status, second.body['url']], [201, first.body['url']]);
  });

  let count = 0;
  async function makeAccount(): Promise<{ id: string; email: string }> {
    const email = `invited${count++}@example.com`;
    return { id: (await admin.post('/accounts', { email })).body.account_id, email };
  }

  async function makeLink(id: string, kind = 'first_password'): Promise<string> {
    const answer = await admin.post(`/accounts/${id}/links`, { kind });
    assert.equal(answer.status, 201, answer.text);
    return String(answer.body['url']);
  }

  async function statusOf(link: string): Promise<number> {
    return (await new LinkVisitor(gatehouse).open(link)).response.status;
  }

  async function hasPassword(id: string): Promise<unknown> {
    return (await admin.get(`/accounts/${id}`)).body['has_password'];
  }

  async function logInWith(email: string, password: string): Promise<number> {
    const form = await LoginForm.open(gatehouse, '127.0.0.1');
    return (await form.post(gatehouse, { email, password })).status;
  }
});

describe('the links of an account where mail is configured', () => {
  let mailServer: MailServer;
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    mailServer = await startMailServer();
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_SMTP_URL: mailServer.url, GATEHOUSE_MAIL_FROM: 'Gatehouse <id@example.com>' },
    });
    admin = await Admin.of(gatehouse);
  });
  after(async () => {
    await gatehouse.stop();
    await mailServer.stop();
  });

  it('are sent and not returned, and their use proves the address', async () => {
    const { body: account } = await admin.post('/accounts', { email: 'ada@example.com', name: 'Ada' });
    const answer = await admin.post(`/accounts/${account.account_id}/links`, { kind: 'first_password' });
    assert.deepEqual([answer.status, answer.body['sent_to'], answer.body['url']], [201, 'ada@example.com', undefined]);
    const mail = await mailServer.next('ada@example.com', /Your account at/);
    assert.equal(mail.links.length, 1);
    assert.ok(!answer.text.includes(mail.links[0]!.slice(-43)));
    assert.match(
      wordsOf(await new LinkVisitor(gatehouse).setPassword(mail.links[0]!, PASSWORD)),
      /Your password is set/,
    );
    assert.equal((await admin.get(`/accounts/${account.account_id}`)).body['email_verified'], true);
    const dump = JSON.stringify(await gatehouse.database.selectFrom('outbox').selectAll().execute());
    assert.ok(!dump.includes(mail.links[0]!.slice(-43)));
    assert.ok(!gatehouse.log.some((line) => line.includes(mail.links[0]!.slice(-43))));
    await mailServer.next('ada@example.com', /Your password .* was changed/);
  });
});

describe('a server where people get their passwords by links alone', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_PASSWORDS_BY_LINK_ONLY: 'true' } });
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  it('takes no password from an admin, neither for a new account nor for an existing one', async () => {
    const password = 'chosen by an administrator';
    const made = await admin.post('/accounts', { email: 'known@example.com', password });
    assert.deepEqual([made.status, made.body.errors[0]?.pointer], [400, '/password']);
    assert.match(made.body.errors[0]?.detail ?? '', /links/);
    assert.equal((await admin.get('/accounts?q=known%40example.com')).body.items.length, 0);
    const { body } = await admin.post('/accounts', { email: 'invited@example.com' });
    const changed = await admin.patch(`/accounts/${body.account_id}`, { password });
    assert.deepEqual([changed.status, changed.body.errors[0]?.pointer], [400, '/password']);
    assert.ok(!changed.text.includes(password));
    const link = await admin.post(`/accounts/${body.account_id}/links`, { kind: 'first_password' });
    assert.equal(link.status, 201, link.text);
    assert.match(String(link.body['url']), /\/link\/[\w-]{43}$/);
  });
});
