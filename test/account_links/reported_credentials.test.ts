import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createAccountLinks } from '../../src/account_links/account_links.ts';
import { reportChange } from '../../src/account_links/link_use.ts';
import { lockAccount } from '../../src/accounts/account.ts';
import { Mailer } from '../../src/mail/mailer.ts';
import { MasterKey } from '../../src/vault/master_key.ts';
import { Vault } from '../../src/vault/vault.ts';
import { Admin } from '../support/client/admin.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { openTrail } from '../support/node/audit_trail.ts';
import { startGatehouse, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { change } from '../support/node/operator.ts';

describe('a credential of another folder', () => {
  let mailServer: MailServer;
  let gatehouse: Gatehouse;
  before(async () => {
    mailServer = await startMailServer();
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_SMTP_URL: mailServer.url, GATEHOUSE_MAIL_FROM: 'id@example.com' },
    });
  });
  after(async () => {
    await gatehouse.stop();
    await mailServer.stop();
  });

  it('is told of by mail, and disabled by its own function if the person reports the change', async () => {
    const { database, issuer } = gatehouse;
    const disabled: unknown[] = [];
    const vault = new Vault(database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]);
    const mailer = new Mailer({ issuer, vault, isConfigured: true });
    const { links, notices, disablers } = createAccountLinks({
      issuer,
      database,
      trail: await openTrail(database),
      outbox: { serve() {} },
      mailer,
      disablers: {
        passkey: (_work, account, { reference }) => Promise.resolve(void disabled.push([account.email, reference])),
      },
    });
    const admin = await Admin.of(gatehouse);
    const email = 'passkey@example.com';
    const { body } = await admin.post('/accounts', { email, password: 'a password of several words' });
    const open = await notices.open(new Date());
    await change(gatehouse, async (work) => {
      const account = await lockAccount(work.tx, body.account_id);
      const what = 'A passkey was added to your account.';
      await open.credentialChanged(work, account, what, { credential: 'passkey', reference: 'key_1' });
    });
    const mail = await mailServer.next(email, /Your login .* was changed/);
    assert.match(mail.text, /A passkey was added to your account\./);
    const openLinks = await links.open(new Date());
    const presented = { accountId: body.account_id, value: mail.links[0]!.slice(-43) };
    await change(gatehouse, (work) => reportChange(work, { links: openLinks, disablers }, presented));
    assert.deepEqual(disabled, [[email, 'key_1']]);
    await mailServer.next(email, /A new password/);
    assert.equal((await admin.get(`/accounts/${body.account_id}`)).body['has_password'], true, 'the password stays');
  });
});
