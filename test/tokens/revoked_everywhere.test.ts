import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { registerApplication, signIn, type SignedIn } from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

describe('on every node within a second, with NOTIFY and without, tokens', () => {
  let gatehouse: Gatehouse;
  /** Two nodes on one database: one learns of changes by NOTIFY, the other by its poll alone. */
  let second: Gatehouse;
  let deaf: Gatehouse;
  let client: RegisteredClient;
  let application: RegisteredClient;
  let resourceServer: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    deaf = await startGatehouse({ beside: gatehouse, withoutNotify: true });
    client = await registerClient(gatehouse);
    application = await registerApplication(gatehouse);
    resourceServer = await registerClient(gatehouse, { resources: [], introspects: [gatehouse.demo.resource] });
  });
  after(async () => {
    await deaf.stop();
    await second.stop();
    await gatehouse.stop();
  });

  /** Every token of a sign-in, and who may see it. */
  interface Family {
    readonly who: RegisteredClient;
    readonly seenBy: readonly (readonly [token: string, caller: RegisteredClient])[];
    readonly signedIn: SignedIn;
  }
  const newFamily = async (): Promise<Family> => {
    const who = await registerApplication(gatehouse, {
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    });
    const person = new Person(gatehouse);
    const opaque = await signIn(gatehouse, who, { person });
    const jwt = await signIn(gatehouse, who, { person, scope: 'notes:read' });
    const seenBy = [
      [opaque.tokens.access_token, who],
      [opaque.tokens.refresh_token!, who],
      [jwt.tokens.access_token, resourceServer],
      [jwt.tokens.refresh_token!, who],
    ] as const;
    return { who, seenBy, signedIn: jwt };
  };
  const activeOn = async (url: string, { seenBy }: Pick<Family, 'seenBy'>): Promise<boolean[]> =>
    Promise.all(
      seenBy.map(async ([token, caller]) => {
        const response = await postForm(`${url}/introspect`, { token }, caller);
        // a revoked client is refused, which is no, too
        return ((await response.json()) as { active?: boolean }).active === true;
      }),
    );
  const NODES = () => [gatehouse, second, deaf];
  const isAliveEverywhere = async (family: Pick<Family, 'seenBy'>): Promise<void> => {
    for (const { url } of NODES()) assert.equal((await activeOn(url, family)).every(Boolean), true);
  };
  const diesEverywhere = async (family: Pick<Family, 'seenBy'>): Promise<void> => {
    await Promise.all(NODES().map(({ url }) => eventually(async () => !(await activeOn(url, family)).some(Boolean))));
  };
  const admin = async (method: string, path: string, body?: unknown): Promise<void> => {
    const response = await gatehouse.adminCall(method, path, body);
    assert.equal(response.status < 300, true, await response.text());
  };

  it('die when the client was revoked; restoring it brings the client back and not its tokens (CVE-2026-8922)', async () => {
    const { who, seenBy } = await newFamily();
    // no grant stands behind this one: only the client's token generation can end it
    const ofItsOwn = await requestToken(gatehouse.url, who);
    const family = { seenBy: [...seenBy, [ofItsOwn, resourceServer] as const] };
    await isAliveEverywhere(family);
    await admin('POST', `/clients/${who.client_id}/revoke`, { reason: 'A test' });
    await diesEverywhere(family);

    await admin('POST', `/clients/${who.client_id}/restore`);
    const again = { seenBy: [[await requestToken(gatehouse.url, who), resourceServer]] } as const;
    for (const { url } of NODES()) {
      await eventually(async () => (await activeOn(url, again)).every(Boolean));
      assert.deepEqual(await activeOn(url, family), [false, false, false, false, false]);
    }
  });

  it('die when the client was deleted', async () => {
    const family = await newFamily();
    await isAliveEverywhere(family);
    await admin('DELETE', `/clients/${family.who.client_id}`);
    await diesEverywhere(family);
  });

  it('die when the person withdrew the grant', async () => {
    const family = await newFamily();
    await isAliveEverywhere(family);
    const { sub, gid } = decodeJwt<{ gid: string }>(family.signedIn.tokens.access_token);
    await admin('DELETE', `/accounts/${sub}/grants/${gid}`);
    await diesEverywhere(family);
  });

  it('die when the account was disabled, and enabling it brings no token back', async () => {
    const account = { email: 'disabled@example.com', password: 'a password of some length' };
    const made = await gatehouse.adminCall('POST', '/accounts', account);
    const { account_id } = (await made.json()) as { account_id: string };
    const person = new Person(gatehouse, { account });
    const { tokens } = await signIn(gatehouse, application, { person, scope: 'notes:read' });
    const its = {
      seenBy: [
        [tokens.access_token, resourceServer],
        [tokens.refresh_token!, application],
      ],
    } as const;
    for (const { url } of NODES()) assert.deepEqual(await activeOn(url, its), [true, true]);

    await admin('POST', `/accounts/${account_id}/disable`);
    await diesEverywhere(its);
    await admin('POST', `/accounts/${account_id}/enable`);
    for (const { url } of NODES()) assert.deepEqual(await activeOn(url, its), [false, false]);
  });

  it('die when the token itself was revoked, on either node (CVE-2026-8922)', async () => {
    for (const node of NODES()) {
      const token = await requestToken(node.url, client);
      for (const { url } of NODES())
        assert.deepEqual(await activeOn(url, { seenBy: [[token, resourceServer]] }), [true]);
      await postForm(`${node.url}/revoke`, { token }, client);
      // at once where it was said, soon everywhere
      assert.deepEqual(await activeOn(node.url, { seenBy: [[token, resourceServer]] }), [false]);
      await diesEverywhere({ seenBy: [[token, resourceServer]] });
    }
  });

  it('stay dead after a restart', async () => {
    const token = await requestToken(gatehouse.url, client);
    await postForm(`${gatehouse.url}/revoke`, { token }, client);
    const restarted = await startGatehouse({ beside: gatehouse });
    try {
      assert.deepEqual(await activeOn(restarted.url, { seenBy: [[token, resourceServer]] }), [false]);
    } finally {
      await restarted.stop();
    }
  });
});
