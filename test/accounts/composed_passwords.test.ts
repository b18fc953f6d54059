import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PasswordCheck } from '../../src/accounts/password_check.ts';
import { Argon2id } from '../../src/password_hashing/argon2id.ts';
import { LoginForm } from '../support/person/login_form.ts';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const COMPOSED = 'Gr\u00fc\u00dfe aus Z\u00fcrich, \u00e9';
const DECOMPOSED = COMPOSED.normalize('NFD');
const EMOJI = range(0x1f600, 16);

function range(first: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => String.fromCodePoint(first + index));
}

/** Of so many characters that the rules do not take the text for a repetition. */
function varied(characters: readonly string[], length: number): string {
  return Array.from({ length }, (_, index) => characters[index % characters.length]).join('');
}

describe('a password with accented letters', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  const argon2id = new Argon2id(1);
  let people = 0;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
  });
  after(async () => {
    await argon2id.stop();
    await second.stop();
    await gatehouse.stop();
  });

  const account = async (password: string): Promise<{ accountId: string; email: string }> => {
    const email = `person-${people++}@example.com`;
    const { status, text, body } = await admin.post('/accounts', { email, password });
    assert.equal(status, 201, text);
    return { accountId: body.account_id, email };
  };
  /** As a version stored it that hashed passwords as they were typed. */
  const earlierAccount = async (password: string): Promise<{ accountId: string; email: string }> => {
    const made = await account('to be replaced now');
    const password_hash = await argon2id.hash(password);
    await gatehouse.database
      .updateTable('accounts')
      .set({ password_hash })
      .where('account_id', '=', made.accountId)
      .execute();
    return made;
  };
  const storedHash = async (accountId: string): Promise<string> => {
    const rows = gatehouse.database.selectFrom('accounts').select('password_hash');
    return (await rows.where('account_id', '=', accountId).executeTakeFirstOrThrow()).password_hash!;
  };
  const logIn = async (email: string, password: string, node: Gatehouse = gatehouse): Promise<number> =>
    (await (await LoginForm.open(gatehouse, '127.0.0.1')).post(node, { email, password })).status;

  for (const [set, typed] of [
    [COMPOSED, DECOMPOSED],
    [DECOMPOSED, COMPOSED],
    [COMPOSED, COMPOSED],
    [DECOMPOSED, DECOMPOSED],
  ] as const) {
    const form = (text: string): string => (text === COMPOSED ? 'composed' : 'decomposed');
    it(`is right when it was set ${form(set)} and is typed ${form(typed)} (FIELD-D2)`, async () => {
      const { email } = await account(set);
      assert.equal(await logIn(email, typed), 303);
      assert.equal(await logIn(email, `${typed.slice(0, -2)}e`), 401, 'without the accent it is another one');
    });
  }

  it('is right when a patch sets it, in either form (FIELD-D2)', async () => {
    const { accountId, email } = await account('before this one');
    assert.equal((await admin.patch(`/accounts/${accountId}`, { password: DECOMPOSED })).status, 200);
    assert.equal(await logIn(email, COMPOSED), 303);
  });

  it('gets a new hash at the first login where an earlier version stored it as it was typed (FIELD-D2)', async () => {
    const { accountId, email } = await earlierAccount(DECOMPOSED);
    const earlier = await storedHash(accountId);
    assert.equal(await logIn(email, COMPOSED), 401, 'it is not known yet that the two are one');
    assert.equal(await storedHash(accountId), earlier, 'a wrong password changes nothing');
    assert.equal(await logIn(email, DECOMPOSED), 303);
    const renewed = await storedHash(accountId);
    assert.notEqual(renewed, earlier);
    assert.equal(await logIn(email, COMPOSED), 303);
    assert.equal(await logIn(email, DECOMPOSED), 303);
    assert.equal(await storedHash(accountId), renewed, 'once is enough');
    const { items } = (await admin.get(`/audit-events?event=account.password_changed&limit=200`)).body;
    assert.equal(
      items.some((event) => event['account_id'] === accountId),
      false,
      'the password is the same',
    );
  });

  it('is right for all who log in at the moment in which its hash is replaced, on two nodes (FIELD-D2)', async () => {
    const { email } = await earlierAccount(DECOMPOSED);
    const logins = [gatehouse, second, gatehouse, second].map((node) => logIn(email, DECOMPOSED, node));
    assert.deepEqual(await Promise.all(logins), [303, 303, 303, 303]);
    assert.equal(await logIn(email, COMPOSED), 303);
  });

  it('of a disabled account opens nothing, and its hash stays as it is (FIELD-D2)', async () => {
    const { accountId, email } = await earlierAccount(DECOMPOSED);
    await admin.post(`/accounts/${accountId}/disable`);
    const earlier = await storedHash(accountId);
    assert.equal(await logIn(email, DECOMPOSED), 401);
    assert.equal(await storedHash(accountId), earlier);
  });

  it('costs a wrong guess the same, whatever the account is (FIELD-D2)', async () => {
    const wrong = await account('another password');
    const disabled = await account(DECOMPOSED);
    await admin.post(`/accounts/${disabled.accountId}/disable`);
    const guesses: Readonly<Record<string, string>> = {
      'no account': 'nobody@example.com',
      'another password': wrong.email,
      'the password of a disabled account': disabled.email,
    };
    let computations = 0;
    const counting = new (class extends Argon2id {
      override verify(hash: string, password: string): Promise<boolean> {
        computations++;
        return super.verify(hash, password);
      }
    })(1);
    const passwords = new PasswordCheck(gatehouse.database, counting);
    for (const [guess, email] of Object.entries(guesses)) {
      for (const [password, expected] of [
        [COMPOSED, 1],
        [DECOMPOSED, 2],
      ] as const) {
        computations = 0;
        assert.equal((await passwords.check(email, password)).account, undefined);
        assert.equal(computations, expected, guess);
      }
    }
    await counting.stop();
  });

  it('of 256 characters may be typed decomposed (FIELD-D2)', async () => {
    const letters = 'ÀÁÂÃÄÈÉÊËÌÍÎÏÑÒÓÔÕÖÙ';
    const composedText = letters.repeat(13).slice(0, 256);
    const { email } = await account(composedText);
    assert.equal(await logIn(email, composedText.normalize('NFD')), 303);
  });

  for (const [what, most] of [
    ['emoji', varied(EMOJI, 256)],
    // NFC writes U+0958 as two characters
    ['letters that are two in their composed form', varied(range(0x958, 8), 128)],
    ['letters of four when decomposed', varied([...range(0x1f82, 6), ...range(0x1f92, 6)], 256)],
  ] as const) {
    it(`has the same longest length where it is set and where it is typed, in ${what} (FIELD-D2)`, async () => {
      const { accountId, email } = await account(most);
      for (const form of ['NFC', 'NFD'] as const) assert.equal(await logIn(email, most.normalize(form)), 303, form);
      const longer = `${most}a`;
      const made = await admin.post('/accounts', { email: 'long@example.com', password: longer });
      const patched = await admin.patch(`/accounts/${accountId}`, { password: longer });
      for (const { status, body } of [made, patched])
        assert.deepEqual([status, body.errors[0]?.pointer], [400, '/password']);
      assert.equal(await logIn(email, longer), 400);
    });
  }

  it('has 15 characters where each is two units of a string (FIELD-D2)', async () => {
    const make = async (count: number): Promise<number> => {
      const password = varied(EMOJI, count);
      return (await admin.post('/accounts', { email: `emoji-${count}@example.com`, password })).status;
    };
    assert.deepEqual([await make(14), await make(15)], [400, 201]);
  });

  it('has 15 characters however they are written (FIELD-D2)', async () => {
    const { status, body } = await admin.post('/accounts', {
      email: 'short@example.com',
      password: 'a\u0301bc\u0327de\u0301fghi\u0301jklm',
    });
    assert.deepEqual([status, body.errors[0]?.pointer], [400, '/password']);
  });
});
