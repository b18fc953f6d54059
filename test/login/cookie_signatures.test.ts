import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { DAY_SECONDS } from '../../src/base/clock.ts';
import { MasterKey } from '../../src/vault/master_key.ts';
import { Vault } from '../../src/vault/vault.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { startGatehouse, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const SESSION = 'gatehouse_session';
const SIGNATURE = `${SESSION}.sig`;

describe('the signatures of cookies', () => {
  let first: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    first = await startGatehouse();
    client = await registerApplication(first);
  });
  after(() => first.stop());

  /** A node that begins to sign with SHA-256 so many seconds from now. */
  const nodeBeginning = async (seconds: number): Promise<Gatehouse> => {
    const sha256_from = new Date(Date.now() + seconds * 1_000);
    await first.database.updateTable('cookie_signatures').set({ sha256_from }).execute();
    return startGatehouse({ beside: first });
  };
  const signatureOf = (person: Person): string => person.cookies.get(SIGNATURE)!.value;
  const loggedInAt = async (node: Gatehouse, person: Person): Promise<boolean> =>
    (await (await person.fetch(`${node.url}/account`)).text()).includes(first.account.email);
  /** As the version before signed. */
  const signWithSha1 = async (person: Person): Promise<void> => {
    const vault = new Vault(first.database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]);
    const key = (await vault.current('cookies', new Date())).digest('signs cookies').toString('base64url');
    const signed = `${SESSION}=${person.cookies.get(SESSION)!.value}`;
    person.cookies.set(SIGNATURE, { value: createHmac('sha1', key).update(signed).digest('base64url'), path: '/' });
  };

  it('are made with SHA-256 (FIELD-V11)', async () => {
    const person = new Person(first);
    await signIn(first, client, { person });
    assert.equal(Buffer.from(signatureOf(person), 'base64url').length, 32);
    assert.equal(await loggedInAt(first, person), true);
    person.cookies.set(SIGNATURE, {
      value: signatureOf(person).replace(/^./, (letter) => (letter === 'A' ? 'B' : 'A')),
      path: '/',
    });
    assert.equal(await loggedInAt(first, person), false);
  });

  it('of the version before are taken after an upgrade, and replaced at the next sign-in (FIELD-E9)', async () => {
    const person = new Person(first);
    await signIn(first, client, { person });
    await signWithSha1(person);
    assert.equal(await loggedInAt(first, person), true);
    await signIn(first, client, { person });
    assert.equal(person.trace.filter((step) => step.includes('/login')).length, 1, 'nobody had to log in again');
    assert.equal(Buffer.from(signatureOf(person), 'base64url').length, 32);
  });

  it('of the version before are refused once no session can have been unused for so long (FIELD-V11)', async () => {
    const person = new Person(first);
    await signIn(first, client, { person });
    await signWithSha1(person);
    const node = await nodeBeginning(-15 * DAY_SECONDS);
    try {
      assert.equal(await loggedInAt(node, person), false);
    } finally {
      await node.stop();
    }
  });

  it('stay those that older nodes know while such nodes may run beside (FIELD-E9)', async () => {
    const node = await nodeBeginning(600);
    try {
      const person = new Person(first);
      await signIn(first, client, { person });
      const page = await person.fetch(`${node.url}/account/login`);
      assert.equal(page.status, 303, 'a node that waits knows the newer signature');
      const other = new Person(first);
      await other.open(`${node.url}/account/login`);
      const signatures = other.cookieHeaders.filter((header) => /^\w+\.sig=/.test(header));
      assert.ok(signatures.length > 0);
      for (const header of signatures) {
        assert.equal(Buffer.from(/=([^;]*)/.exec(header)![1]!, 'base64url').length, 20, header);
      }
    } finally {
      await node.stop();
    }
  });
});
