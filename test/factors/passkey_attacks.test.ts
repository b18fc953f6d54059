import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { startGatehouse } from '../support/node/gatehouse.ts';
import { newAccount } from '../support/person/authenticator.ts';
import { logIn, setScene, type Scene } from '../support/person/pages.ts';
import { VirtualAuthenticator } from '../support/person/virtual_authenticator.ts';

describe('a passkey’s answer', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene({ host: 'localhost' });
  });
  after(() => scene.stop());

  const withPasskey = async () => {
    const account = await newAccount(scene.gatehouse);
    const page = await scene.visit();
    const authenticator = await VirtualAuthenticator.in(page, { answers: false });
    await page.goto(`${scene.gatehouse.issuer}/account/passkeys`);
    await logIn(page, account);
    await authenticator.answer(true);
    await page.getByRole('button', { name: 'Add a passkey' }).click();
    await page.getByText('It has been added').waitFor();
    await authenticator.answer(false);
    return { account, page, authenticator };
  };

  interface Captured {
    readonly url: string;
    readonly form: URLSearchParams;
    /** Sends the form as the browser would, or a changed one. */
    send(form?: URLSearchParams, url?: string): Promise<{ readonly status: number; readonly location: string | null }>;
  }

  /** Opens a login, lets the passkey answer, and keeps the form from the server. */
  const capture = async (
    page: Page,
    authenticator: VirtualAuthenticator,
    changeOptions: string = '',
  ): Promise<Captured> => {
    await page.context().clearCookies();
    await page.goto(scene.application.authorizationUrl());
    return captureHere(page, authenticator, changeOptions);
  };

  const captureHere = async (page: Page, authenticator: VirtualAuthenticator, changeOptions: string) => {
    const button = page.getByRole('button', { name: 'Log in with a passkey' });
    await button.waitFor();
    if (changeOptions) await page.evaluate(changeOptions);
    const sent = page.waitForRequest((request) => request.url().endsWith('/passkey'));
    await page.route('**/passkey', (route) => route.abort());
    await authenticator.answer(true);
    await button.click();
    const request = await sent;
    await authenticator.answer(false);
    await page.unroute('**/passkey');
    const cookies = await page.context().cookies(request.url());
    const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
    const form = new URLSearchParams(request.postData() ?? '');
    return {
      url: request.url(),
      form,
      async send(changed = form, url = request.url()) {
        const answer = await fetch(url, { method: 'POST', body: changed, headers: { cookie }, redirect: 'manual' });
        return { status: answer.status, location: answer.headers.get('location') };
      },
    };
  };

  const lastReason = async (accountId?: string): Promise<unknown> => {
    let rows = scene.gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'login.failed')
      .orderBy('occurred_at', 'desc')
      .orderBy('sequence', 'desc');
    if (accountId !== undefined) rows = rows.where('account_id', '=', accountId);
    return (await rows.executeTakeFirstOrThrow()).details['reason'];
  };

  it('logs in once, also when it is sent several times at the same moment to two nodes', async () => {
    const { page, authenticator, account } = await withPasskey();
    const beside = await startGatehouse({ beside: scene.gatehouse });
    try {
      const answer = await capture(page, authenticator);
      const { pathname } = new URL(answer.url);
      const nodes = [answer.url, `${beside.url}${pathname}`];
      const answers = await Promise.all([...nodes, ...nodes, ...nodes].map((url) => answer.send(answer.form, url)));
      const statuses = answers.map(({ status }) => status);
      assert.equal(statuses.filter((status) => status === 303).length, 1, statuses.join());
      // the challenge alone refuses it, as for an authenticator without a counter
      await scene.gatehouse.database.updateTable('passkeys').set({ counter: 0 }).execute();
      assert.equal((await answer.send()).status, 401, 'and never again');
      assert.equal(await lastReason(account.accountId), 'used_passkey');
    } finally {
      await beside.stop();
    }
  });

  it('is refused by another login than the one that it was made for', async () => {
    const { page, authenticator, account } = await withPasskey();
    const first = await capture(page, authenticator);
    const second = await capture(page, authenticator);
    assert.equal((await second.send(first.form)).status, 401);
    assert.equal(await lastReason(account.accountId), 'wrong_passkey');
    assert.equal((await second.send()).status, 303);
  });

  it('is refused if the authenticator did not verify its user', async () => {
    const { page, authenticator, account } = await withPasskey();
    const answer = await capture(
      page,
      authenticator,
      `(() => {
        const form = document.querySelector('form[data-passkey]');
        form.dataset.options = form.dataset.options.replace('"required"', '"discouraged"');
      })()`,
    );
    assert.equal((await answer.send()).status, 401);
    assert.equal(await lastReason(account.accountId), 'wrong_passkey');
  });

  it('is refused from a copy of the passkey whose counter is behind', async () => {
    const { page, authenticator, account } = await withPasskey();
    const [copied] = await authenticator.credentials();
    const first = await capture(page, authenticator);
    assert.equal((await first.send()).status, 303);
    await authenticator.forget(copied!);
    await authenticator.hold(copied!);
    const copy = await capture(page, authenticator);
    assert.equal((await copy.send()).status, 401);
    assert.equal(await lastReason(account.accountId), 'used_passkey');
  });

  it('is refused with another signature, another account, or as no JSON at all', async () => {
    const { page, authenticator } = await withPasskey();
    const other = await withPasskey();
    const answer = await capture(page, authenticator);
    const [theirs] = await other.authenticator.credentials();
    const parts = JSON.parse(answer.form.get('passkey')!) as {
      id: string;
      rawId: string;
      response: Record<string, string>;
    };
    const with_ = (changed: object): URLSearchParams =>
      new URLSearchParams({ passkey: JSON.stringify({ ...parts, ...changed }) });
    const id = Buffer.from(theirs!.credentialId, 'base64').toString('base64url');
    const { signature } = parts.response;
    for (const form of [
      with_({ response: { ...parts.response, signature: `${signature!.slice(0, -4)}AAAA` } }),
      with_({ id, rawId: id }),
      with_({ id, rawId: id, response: { ...parts.response, userHandle: undefined } }),
      with_({ response: { ...parts.response, userHandle: 'YWNjb3VudF94' } }),
      with_({ type: 'password' }),
      new URLSearchParams({ passkey: 'null' }),
      new URLSearchParams({ passkey: '{"id":' }),
      new URLSearchParams({ passkey: '[]' }),
    ]) {
      assert.equal((await answer.send(form)).status, 401, String(form));
    }
    assert.equal((await answer.send()).status, 303, 'and nothing of that used the challenge');
  });

  it('is refused for a disabled account', async () => {
    const { page, authenticator, account } = await withPasskey();
    const answer = await capture(page, authenticator);
    assert.equal((await scene.gatehouse.adminCall('POST', `/accounts/${account.accountId}/disable`)).status, 200);
    assert.equal((await answer.send()).status, 401);
    assert.equal(await lastReason(account.accountId), 'account_disabled');
  });
});
