import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { PROFILE } from '../support/client/relying_party.ts';

describe('what an account tells about its owner', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let path: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    const { status, body } = await admin.post('/accounts', { email: 'ada@example.com', name: 'Ada', ...PROFILE });
    assert.equal(status, 201);
    path = `/accounts/${body.account_id}`;
  });
  after(() => gatehouse.stop());

  const shown = async (): Promise<Record<string, unknown>> => ({ ...(await admin.get(path)).body });

  it('is shown as it was given, under the names of OpenID Connect', async () => {
    const account = await shown();
    for (const [name, value] of Object.entries(PROFILE)) assert.deepEqual(account[name], value, name);
  });

  it('changes by merge patch, member by member, and leaves the rest as it is', async () => {
    const patch = { nickname: 'countess', gender: null, address: { locality: 'London', postal_code: null } };
    const { status, body } = await admin.patch(path, patch);
    assert.equal(status, 200);
    assert.equal(body['nickname'], 'countess');
    assert.equal('gender' in body, false);
    assert.deepEqual(body['address'], { formatted: PROFILE.address.formatted, locality: 'London', country: 'DE' });
    assert.equal(body['given_name'], PROFILE.given_name);
    const events = await admin.get('/audit-events?event=account.updated');
    assert.deepEqual(events.body.items[0]!['details'], {
      members: ['nickname', 'gender', 'address'],
      before: {},
      after: {},
    });
  });

  it('loses a postal address as a whole, or when its last line is taken away', async () => {
    assert.equal('address' in (await admin.patch(path, { address: null })).body, false);
    const only = await admin.patch(path, { address: { country: 'DE' } });
    assert.deepEqual(only.body['address'], { country: 'DE' });
    assert.equal('address' in (await admin.patch(path, { address: { country: null } })).body, false);
  });

  it('does not vouch for a new phone number', async () => {
    const same = await admin.patch(path, { phone_number: PROFILE.phone_number });
    assert.equal(same.body['phone_number_verified'], true);
    const moved = await admin.patch(path, { phone_number: '+44 20 7946 0000' });
    assert.equal('phone_number_verified' in moved.body, false);
    const vouched = await admin.patch(path, { phone_number: '+44 20 7946 0001', phone_number_verified: true });
    assert.equal(vouched.body['phone_number_verified'], true);
    const gone = await admin.patch(path, { phone_number: null });
    assert.equal('phone_number_verified' in gone.body, false);
    assert.equal((await admin.patch(path, { phone_number_verified: true })).status, 400);
  });

  it('is changed by two patches at the same moment without losing either', async () => {
    await Promise.all([admin.patch(path, { middle_name: 'King' }), admin.patch(path, { family_name: 'Lovelace' })]);
    const account = await shown();
    assert.deepEqual([account['middle_name'], account['family_name']], ['King', 'Lovelace']);
  });

  for (const [member, values] of Object.entries({
    given_name: ['', ' ', 'a\u0000b', 'a\nb', '\u202e', '\ud800', 'x'.repeat(201), 7],
    picture: ['javascript:alert(1)', 'data:image/png;base64,AA', 'https://user:pw@example.com/', '//example.com', ''],
    profile: [`https://example.com/${'x'.repeat(2_000)}`, 'ftp://example.com'],
    birthdate: ['1990-02-30', '90-02-28', '1990-2-3', 'yesterday', '1990-13-01'],
    zoneinfo: ['Mars/Olympus', '+01:00', ''],
    locale: ['not a language', 'de_DE_', ''],
    phone_number: ['030 1234567', '+0 30 1', '+49abc'],
    address: ['Berlin', { planet: 'Mars' }, { formatted: 'x'.repeat(501) }, { locality: 'a\nb' }, []],
    phone_number_verified: ['yes'],
    sub: ['somebody-else'],
  })) {
    it(`takes no ${member} that is not one`, async () => {
      for (const value of values) {
        const answers = await Promise.all([
          admin.patch(path, { [member]: value }),
          admin.post('/accounts', { email: 'new@example.com', [member]: value }),
        ]);
        for (const { status, body } of answers) {
          assert.equal(status, 400, JSON.stringify(value));
          assert.ok(body.errors[0]!.pointer?.startsWith(`/${member}`), JSON.stringify(body));
        }
      }
    });
  }
});
