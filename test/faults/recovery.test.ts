import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { registerApplication, requestCode, signIn, type SignedIn } from '../support/client/code_flow.ts';
import { Cluster } from '../support/node/unreachable_database.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { postForm, requestToken, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { startNode } from '../support/node/pair.ts';
import { Person } from '../support/person/person.ts';
import { CLI, NODE, Processes, type Ending } from '../support/node/process.ts';
import { hasItsDatabase } from '../support/node/replica.ts';

const PAGE = join(import.meta.dirname, '../../docs/backup-and-recovery.md');

describe('a backup that is restored under a running node', () => {
  const processes = new Processes();
  let cluster: Cluster;
  let backup: string;
  let gatehouse: Gatehouse;
  let application: RegisteredClient;
  let revoked: RegisteredClient;
  let person: Person;
  let signedIn: SignedIn;
  let earlier: { readonly token: string; readonly kids: readonly string[] };
  let since: { readonly token: string; readonly refreshToken: string };
  before(async () => {
    cluster = await Cluster.start();
    backup = await mkdtemp(join(tmpdir(), 'gatehouse-backup-'));
    gatehouse = await startNode(
      { databaseUrl: cluster.url, directUrl: cluster.url },
      { NODE_ENV: 'development', GATEHOUSE_DATABASE_MAX_CONNECTIONS: '4' },
    );
    application = await registerApplication(gatehouse);
    revoked = await registerClient(gatehouse);
    person = new Person(gatehouse, { remember: true });
    signedIn = await signIn(gatehouse, application, { scope: 'openid offline_access', person });
    earlier = { token: await requestToken(gatehouse.url, gatehouse.demo), kids: await kids() };
  });
  after(async () => {
    await processes.end();
    await gatehouse.stop();
    await cluster.stop();
    await rm(backup, { recursive: true, force: true });
  });

  const kids = async (): Promise<string[]> => {
    const { keys } = (await (await fetch(`${gatehouse.url}/jwks`)).json()) as { keys: { kid: string }[] };
    return keys.map(({ kid }) => kid);
  };
  const ask = (client: RegisteredClient, form: Readonly<Record<string, string>>): Promise<Response> =>
    postForm(`${gatehouse.url}/token`, form, client);
  const isActive = async (token: string): Promise<boolean | undefined> => {
    const answer = await postForm(`${gatehouse.url}/introspect`, { token }, gatehouse.demo);
    return ((await answer.json()) as { active?: boolean }).active;
  };
  /** The commands of the page that begin so, as they stand there. */
  const commandsOfPage = async (name: string): Promise<string[][]> => {
    const found = (await readFile(PAGE, 'utf8')).matchAll(/npm run -s gatehouse -- (.+)/g);
    const commands = [...found].map(([, words]) =>
      [...words!.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!),
    );
    return commands.filter(([first]) => first === name);
  };
  const run = (words: readonly string[]): Promise<Ending> =>
    processes.run([NODE, CLI, ...words], {
      NODE_ENV: 'development',
      DATABASE_URL: cluster.url,
      ISSUER: gatehouse.issuer,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    });

  it('brings back to life what was ended since (FIELD-H6)', async () => {
    await cluster.copyTo(backup);
    await hasItsDatabase(gatehouse);
    assert.ok((await gatehouse.adminCall('POST', `/clients/${revoked.client_id}/revoke`, { reason: 'left' })).ok);
    const form = { grant_type: 'refresh_token', refresh_token: signedIn.tokens.refresh_token! };
    const refreshed = (await (await ask(application, form)).json()) as { refresh_token: string };
    since = { token: await requestToken(gatehouse.url, gatehouse.demo), refreshToken: refreshed.refresh_token };
    await cluster.setBackTo(backup);
    await hasItsDatabase(gatehouse);
    await eventually(async () => (await ask(revoked, { grant_type: 'client_credentials' })).ok);
    assert.deepEqual(await Promise.all([isActive(earlier.token), isActive(since.token)]), [true, true]);
  });

  it('is made safe by the commands of docs/backup-and-recovery.md, with the node up (FIELD-H6)', async () => {
    const [afterRestore, afterFailOver] = await commandsOfPage('recover');
    const { database } = gatehouse;
    await sql`insert into remembered_devices (device_id, account_id, digest, name, created_at, last_used_at, expires_at)
      select 'device_1', account_id, sha256('x'), 'A device', now(), now(), now() + interval '1 day' from accounts limit 1`.execute(
      database,
    );
    const kinds = ['first_password', 'reset', 'email_change', 'email_way_back', 'report'];
    for (const kind of kinds)
      await sql`insert into account_links (link_id, digest, account_id, kind, created_at, expires_at)
        select ${`link_${kind}`}, sha256(${kind}::bytea), account_id, ${kind}, now(), now() + interval '1 day'
        from accounts limit 1`.execute(database);
    for (const isForEnrolment of [true, false])
      await sql`insert into recovery_codes (account_id, digest, pepper_id, for_enrolment, created_at)
        select account_id, sha256(${String(isForEnrolment)}::bytea), data_key_id, ${isForEnrolment}, now()
        from accounts, data_keys limit 1`.execute(database);
    const done = await run(afterRestore!);
    assert.deepEqual(await database.selectFrom('remembered_devices').select('device_id').execute(), []);
    const links = await database.selectFrom('account_links').select('kind').orderBy('kind').execute();
    assert.deepEqual(
      links.map(({ kind }) => kind),
      ['email_way_back', 'report'],
    );
    const codes = await database.selectFrom('recovery_codes').select('for_enrolment').execute();
    assert.deepEqual(codes, [{ for_enrolment: false }]);
    assert.equal(done.code, 0, done.stderr);
    assert.match(done.stdout, /^Ended the access tokens of \d+ clients\.\nEnded 1 sessions and \d+ grants with/);

    await eventually(async () => (await isActive(earlier.token)) === false);
    assert.equal(await isActive(since.token), false);
    for (const refresh_token of [signedIn.tokens.refresh_token!, since.refreshToken])
      assert.equal((await ask(application, { grant_type: 'refresh_token', refresh_token })).status, 400);
    const parameters = { prompt: 'none' };
    const { callback } = await requestCode(gatehouse, application, { person, parameters });
    assert.equal(callback.searchParams.get('error'), 'login_required');
    const left = new Set(await kids());
    assert.deepEqual(
      earlier.kids.filter((kid) => left.has(kid)),
      [],
    );

    const again = await signIn(gatehouse, application, { scope: 'openid offline_access', person });
    const token = await requestToken(gatehouse.url, gatehouse.demo);
    assert.equal(await isActive(token), true);
    const kept = await run(afterFailOver!);
    assert.equal(kept.code, 0, kept.stderr);
    assert.match(kept.stdout, /^Kept sessions and grants\.$/m);
    await eventually(async () => (await isActive(token)) === false);
    const form = { grant_type: 'refresh_token', refresh_token: again.tokens.refresh_token! };
    assert.equal((await ask(application, form)).status, 200);
  });

  it('leaves a trail that is proven, with the recovery in it (FIELD-H6)', async () => {
    assert.equal((await proofOf(gatehouse)).setBacks.length, 1);
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'details'])
      .where('event', 'in', ['recovery.began', 'recovery.completed'])
      .orderBy('occurred_at')
      .execute();
    assert.deepEqual(
      rows.map(({ event, details }) => [event, details['reason']]),
      ['restored the backup of last night', 'fail-over to a standby that lacked changes'].flatMap((reason) => [
        ['recovery.began', reason],
        ['recovery.completed', reason],
      ]),
    );
  });
});
