import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { LinkVisitor, wordsOf } from '../support/person/link_visitor.ts';
import { LoginForm } from '../support/person/login_form.ts';

const RACES = 8;

describe('a one-time link on two nodes', () => {
  let mailServer: MailServer;
  let pair: Pair;
  let admin: Admin;
  before(async () => {
    mailServer = await startMailServer();
    pair = await startPair({ GATEHOUSE_SMTP_URL: mailServer.url, GATEHOUSE_MAIL_FROM: 'id@example.com' });
    admin = await Admin.of(pair.a);
  });
  after(async () => {
    await pair.stop();
    await mailServer.stop();
  });

  it('is used by one of two who try at once, and its password is the one that counts', async () => {
    for (let race = 0; race < RACES; race++) {
      const { email, link } = await invite(`race${race}@example.com`);
      const visitors = [new LinkVisitor(pair.a), new LinkVisitor(pair.a)];
      const pages = await Promise.all(visitors.map((visitor) => visitor.open(link)));
      const passwords = ['the first of two passwords', 'the second of two passwords'];
      const answers = await Promise.all(
        visitors.map((visitor, index) =>
          visitor.send(pages[index]!, { new_password: passwords[index]! }, index === 0 ? pair.a : pair.b),
        ),
      );
      const winners = answers.map(({ url }) => url.endsWith('/link?done=password'));
      assert.equal(winners.filter(Boolean).length, 1, answers.map(wordsOf).join(' | '));
      assert.equal(answers[winners.indexOf(false)]!.response.status, 404);
      const statuses = [];
      for (const password of passwords) {
        const form = await LoginForm.open(pair.a, '127.0.0.1');
        statuses.push((await form.post(pair.b, { email, password })).status);
      }
      assert.deepEqual(
        statuses.map((status) => status === 303),
        winners,
      );
    }
  });

  it('ends by the use of another one on the other node at the same time, or makes that one end', async () => {
    const { body } = await admin.post('/accounts', { email: 'both@example.com', password: 'an old password of words' });
    await Promise.all([ask('both@example.com', pair.a.url), ask('both@example.com', pair.b.url)]);
    const links = [
      (await mailServer.next('both@example.com', /A new password/)).links[0]!,
      (await mailServer.next('both@example.com', /A new password/)).links[0]!,
    ];
    const visitors = links.map(() => new LinkVisitor(pair.a));
    const pages = await Promise.all(visitors.map((visitor, index) => visitor.open(links[index]!)));
    const answers = await Promise.all(
      visitors.map((visitor, index) =>
        visitor.send(pages[index]!, { new_password: `password number ${index} of two` }, [pair.a, pair.b][index]),
      ),
    );
    assert.equal(answers.filter(({ url }) => url.endsWith('/link?done=password')).length, 1);
    assert.equal(answers.filter(({ response }) => response.status === 404).length, 1);
    assert.deepEqual(
      (await admin.get(`/accounts/${body.account_id}/links`)).body.items.map((item) => item['kind']),
      ['report'],
    );
  });

  it('is sent once for each request, whichever node takes the request', async () => {
    await admin.post('/accounts', { email: 'once@example.com', password: 'an old password of words' });
    await ask('once@example.com', pair.b.url);
    await mailServer.next('once@example.com', /A new password/);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    assert.equal(mailServer.mails.filter(({ to }) => to === 'once@example.com').length, 0);
  });

  async function invite(email: string): Promise<{ email: string; link: string }> {
    const { body } = await admin.post('/accounts', { email });
    await admin.post(`/accounts/${body.account_id}/links`, { kind: 'first_password' });
    return { email, link: (await mailServer.next(email, /Your account at/)).links[0]! };
  }

  async function ask(email: string, url: string): Promise<void> {
    const body = new URLSearchParams({ email });
    const answer = await fetch(`${url}/forgot-password`, { method: 'POST', body, redirect: 'manual' });
    assert.equal(answer.status, 303);
  }
});
