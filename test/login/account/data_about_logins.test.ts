import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../../support/client/admin.ts';
import { startMailServer, type MailServer } from '../../support/network/mail_server.ts';
import { startGatehouse, type Gatehouse } from '../../support/node/gatehouse.ts';
import { eventually } from '../../support/node/operator.ts';
import { hiddenField, personWithApp } from '../../support/person/authenticator.ts';

type Entry = Readonly<Record<string, unknown>>;

const CREDENTIAL = 'credential-of-the-test-0123456789';

describe('the copy of a person’s data', () => {
  let mailServer: MailServer;
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    mailServer = await startMailServer();
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_SMTP_URL: mailServer.url, GATEHOUSE_MAIL_FROM: 'id@example.com' },
    });
    admin = await Admin.of(gatehouse);
  });
  after(async () => {
    await gatehouse.stop();
    await mailServer.stop();
  });

  it('lists factors, links and mails, without the secret of any', async () => {
    const { account, authenticator, person } = await personWithApp(gatehouse);
    const { accountId, email } = account;
    const codesPage = `${gatehouse.issuer}/account/recovery-codes`;
    const { page } = await person.walk(codesPage);
    const made = await person.submit(codesPage, { form_token: hiddenField(page, 'form_token') });
    const codes = [...made.page.matchAll(/[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}/g)].map(([code]) => code);
    assert.equal(codes.length, 10);
    const created_at = new Date();
    await gatehouse.database
      .insertInto('passkeys')
      .values({
        credential_id: CREDENTIAL,
        passkey_id: 'passkey_of_the_test',
        account_id: accountId,
        name: 'Ada’s key ring',
        public_key: Buffer.from('a public key'),
        counter: 7,
        transports: ['usb'],
        aaguid: '00000000-0000-0000-0000-000000000000',
        backup_eligible: false,
        backed_up: false,
        created_at,
        last_used_at: created_at,
      })
      .execute();
    // the mail of the link waits in the outbox
    await eventually(async () => (await mails(accountId)) === 0);
    mailServer.refusesWith = 451;
    assert.equal((await admin.post(`/accounts/${accountId}/links`, { kind: 'reset' })).status, 201);

    const { text, copy } = await download(person);
    const factors = copy['factors']!;
    assert.deepEqual(
      factors.map(({ type, name, codes_left }) => [type, name, codes_left]),
      [
        ['totp', null, undefined],
        ['passkey', 'Ada’s key ring', undefined],
        ['recovery_codes', null, 10],
      ],
    );
    for (const factor of factors) assert.match(String(factor['created_at']), /^\d{4}-\d\d-\d\dT/);
    assert.deepEqual(
      factors.map((factor) => factor['last_used_at'] !== null),
      [true, true, false],
    );
    const links = copy['links']!.filter(({ kind }) => kind === 'reset');
    assert.deepEqual(
      links.map((link) => [Object.keys(link).join(' '), link['sent_to']]),
      [['kind email sent_to created_at expires_at', email]],
    );
    assert.deepEqual(
      copy['mails']!.map((mail) => [Object.keys(mail).join(' '), mail['given_up_at']]),
      [['created_at expires_at given_up_at', null]],
    );
    for (const secret of [authenticator.secret, CREDENTIAL, ...codes]) assert.equal(text.includes(secret), false);

    mailServer.refusesWith = undefined;
    const { links: sent } = await mailServer.next(email, /A new password/);
    assert.equal(text.includes(sent[0]!.split('/').at(-1)!), false);
  });

  const mails = async (accountId: string): Promise<number> =>
    (await gatehouse.database.selectFrom('outbox').select('kind').where('client_id', '=', accountId).execute()).length;

  async function download(person: Awaited<ReturnType<typeof personWithApp>>['person']) {
    const url = `${gatehouse.issuer}/account/data`;
    const { page } = await person.walk(url);
    const body = new URLSearchParams({ form_token: hiddenField(page, 'form_token') });
    const response = await person.fetch(`${url}/download`, { method: 'POST', body });
    assert.equal(response.status, 200);
    const text = await response.text();
    return { text, copy: JSON.parse(text) as Readonly<Record<string, readonly Entry[]>> };
  }
});
