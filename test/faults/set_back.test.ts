import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { registerApplication, requestCode, signIn, type SignedIn } from '../support/client/code_flow.ts';
import { Cluster, Way } from '../support/node/unreachable_database.ts';
import { exportOf, keysOf, proofIn } from '../support/node/audit_evidence.ts';
import { postForm, requestToken, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { Person } from '../support/person/person.ts';
import { CLI, NODE, Processes } from '../support/node/process.ts';
import { hasItsDatabase, Standby } from '../support/node/replica.ts';

/** `npm run test:faults` sets the database back so often; `npm test` once. */
const ROUNDS = Number(process.env.FAULT_SET_BACKS ?? 1);
/** A sequence is 32 numbers ahead on a standby: with fewer changes the next ones would have numbers that are new to all. */
const CHANGES_LOST = 40;

/** How the database comes to lack what was done last. */
interface SetBack {
  /** From here on what is done will be lost. */
  cutOff(): Promise<void>;
  /** The database goes, and another one comes in its place. */
  happen(way: Way): Promise<Cluster>;
}

async function failOver(cluster: Cluster): Promise<SetBack> {
  const standby = await Standby.of(cluster);
  return {
    async cutOff() {
      await standby.hasCaughtUp();
      standby.cutOff();
    },
    async happen(way) {
      way.shut();
      await cluster.kill();
      const promoted = await standby.promote();
      way.leadTo(promoted);
      way.open();
      await cluster.stop();
      return promoted;
    },
  };
}

async function restoreColdCopy(cluster: Cluster): Promise<SetBack> {
  const folder = await mkdtemp(join(tmpdir(), 'gatehouse-copy-'));
  return {
    cutOff: () => cluster.copyTo(folder),
    async happen(way) {
      way.shut();
      await cluster.setBackTo(folder);
      await rm(folder, { recursive: true });
      way.open();
      return cluster;
    },
  };
}

const SET_BACKS: readonly [string, (cluster: Cluster) => Promise<SetBack>][] = [
  ['a fail-over to an asynchronous standby that lacks the last changes', failOver],
  ['a cold copy that is put back', restoreColdCopy],
];

for (const [name, prepare] of SET_BACKS) {
  describe(`two nodes, and ${name}`, () => {
    let cluster: Cluster;
    let way: Way;
    let setBack: SetBack;
    let pair: Pair;
    let application: RegisteredClient;
    let person: Person;
    let signedIn: SignedIn;
    before(async () => {
      cluster = await Cluster.start();
      way = await Way.to(cluster);
      setBack = await prepare(cluster);
      const environment = {
        GATEHOUSE_DATABASE_MAX_CONNECTIONS: '4',
        GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
        GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
        NODE_ENV: 'development',
      };
      pair = await startPair(environment, [], way.url(cluster));
      application = await registerApplication(pair.a);
      person = new Person(pair.a, { remember: true });
      signedIn = await signIn(pair.a, application, { scope: 'openid offline_access', person });
    });
    after(async () => {
      await pair.stop();
      way.close();
      await cluster.stop();
    });

    const both = (): Gatehouse[] => [pair.a, pair.b];
    const bothServe = async (): Promise<void> => {
      for (const node of both()) await hasItsDatabase(node);
    };
    const isRefused = async ({ url }: Gatehouse, client: RegisteredClient): Promise<boolean> =>
      (await postForm(`${url}/token`, { grant_type: 'client_credentials' }, client)).status === 401;
    const isDead = async (node: Gatehouse, token: string): Promise<boolean> => {
      const answer = await postForm(`${node.url}/introspect`, { token }, node.demo);
      return ((await answer.json()) as { active?: boolean }).active === false;
    };
    /** Asks again while the database is on its way. */
    const surely = async (ask: () => Promise<Response>): Promise<void> => {
      let last = '';
      await eventually(async () => {
        const answer = await ask();
        last = `${answer.status} ${await answer.text()}`;
        assert.ok(answer.ok || answer.status === 503, last);
        return answer.ok;
      }, 30_000);
    };
    const revoke = (node: Gatehouse, { client_id }: RegisteredClient): Promise<Response> =>
      node.adminCall('POST', `/clients/${client_id}/revoke`, { reason: 'left' });
    const revokeToken = ({ url, demo }: Gatehouse, token: string): Promise<Response> =>
      postForm(`${url}/revoke`, { token }, demo);

    for (let round = 1; round <= ROUNDS; round++) {
      it(`what is revoked afterwards has effect on both nodes without a restart (FIELD-H1, round ${round})`, async (test) => {
        if (round > 1) {
          setBack = await prepare(cluster);
          await bothServe();
        }
        const client = await registerClient(pair.a);
        const lost = await registerClient(pair.a);
        await setBack.cutOff();
        await bothServe();
        const token = await requestToken(pair.a.url, pair.a.demo);
        for (const node of both()) {
          await requestToken(node.url, client);
          assert.equal(await isDead(node, token), false);
        }
        await surely(() => revoke(pair.a, lost));
        for (let change = 1; change < CHANGES_LOST; change++)
          await surely(async () => revokeToken(pair.b, await requestToken(pair.b.url, pair.b.demo)));
        await eventually(() => isRefused(pair.b, lost));
        // under a checkpoint, which is lost with it
        await proofIn(await exportOf(pair.a), await keysOf(pair.a));

        cluster = await setBack.happen(way);
        const began = performance.now();
        await surely(() => revoke(pair.a, client));
        await surely(() => revokeToken(pair.b, token));
        const acknowledged = performance.now();
        for (const node of both()) {
          await eventually(() => isRefused(node, client));
          await eventually(() => isDead(node, token));
        }
        const now = performance.now();
        test.diagnostic(
          `revoked ${Math.round(acknowledged - began)} ms after the database was back, in force on both nodes ${Math.round(now - acknowledged)} ms later`,
        );
        // a client whose revocation was lost is as it was: the nodes agree with the database
        for (const node of both()) await eventually(async () => !(await isRefused(node, lost)));
      });
    }

    it('a person whose session is in the database stays logged in (FIELD-H1)', async () => {
      const { code } = await requestCode(pair.b, application, { person, parameters: { prompt: 'none' } });
      assert.notEqual(code, '');
      const { refresh_token } = signedIn.tokens;
      const form = { grant_type: 'refresh_token', refresh_token: refresh_token! };
      assert.equal((await postForm(`${pair.b.url}/token`, form, application)).status, 200);
    });

    it('the audit trail is proven, and says what was lost (FIELD-H1)', async () => {
      const processes = new Processes();
      const folder = await mkdtemp(join(tmpdir(), 'gatehouse-'));
      try {
        const [exported, keys] = [join(folder, 'export.ndjson'), join(folder, 'keys.json')];
        await writeFile(exported, await exportOf(pair.a));
        await writeFile(keys, JSON.stringify({ keys: await keysOf(pair.a) }));
        const { code, stdout } = await processes.run([NODE, CLI, 'audit', 'verify', exported, '--key', keys]);
        assert.equal(code, 0, stdout);
        assert.match(stdout, /^Proven: \d+ entries, none changed, removed or added\.$/m);
        assert.match(
          stdout,
          /^The database was restored to an earlier state before .*\. Lost: \d+ entries that a node had written/m,
        );
        assert.match(stdout, /everything covered by the checkpoints up to \d+ \(/);
      } finally {
        await processes.end();
        await rm(folder, { recursive: true, force: true });
      }
    });
  });
}
