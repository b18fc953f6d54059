import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { openMailRoom, type MailRoom } from '../support/node/outbox.ts';
import { eventually } from '../support/node/operator.ts';
import { closeOutside, egressTo, NAME, startOutside, type Outside } from '../support/network/outside_server.ts';

const PATIENCE_MILLISECONDS = 10_000;
/** For the whole test: a receiver that does not answer keeps its place. */
const LIMITS = { totalMilliseconds: 30_000, atOncePerHost: 20 };
const SELF_REGISTERED = Array.from({ length: 10 }, (_, index) => `self-registered-${index}`);
const ADMIN_MADE = ['admin-made-0', 'admin-made-1'];

describe('messages to clients that registered themselves', () => {
  let room: MailRoom;
  let receiver: Outside;
  before(async () => {
    room = await openMailRoom();
    receiver = await startOutside(({ url }, response) => {
      if (url === '/answers') response.writeHead(200).end();
    });
    for (const clientId of SELF_REGISTERED) await registerItself(room, clientId);
  });
  after(async () => {
    closeOutside();
    await room.stop();
  });

  const under = (prefix: string): number => receiver.requests.filter((one) => one.startsWith(`POST /${prefix}`)).length;

  it('that failed before leave half of the retries to clients that an admin made, however early they are due', async () => {
    for (const clientId of [...SELF_REGISTERED, ...ADMIN_MADE]) await writeRetry(clientId, `/${clientId}`);
    const node = room.node(egressTo([receiver], { limits: LIMITS }));
    await eventually(() => Promise.resolve(under('admin-made') === 2), PATIENCE_MILLISECONDS);
    await delay(200);
    assert.equal(under('self-registered'), 2);
    // all places for retries are taken; a first attempt needs none of them
    await registerItself(room, 'new');
    await room.write(url('/answers'), { clientId: 'new' });
    node.wake();
    await eventually(() => Promise.resolve(under('answers') === 1), PATIENCE_MILLISECONDS);
    assert.deepEqual([under('self-registered'), under('admin-made')], [2, 2]);
  });

  const url = (path: string): string => `https://${NAME}:${receiver.port}${path}`;

  async function writeRetry(clientId: string, path: string): Promise<void> {
    await room.write(url(path), { clientId });
    await room.database.updateTable('outbox').set({ attempts: 1 }).where('client_id', '=', clientId).execute();
  }
});

async function registerItself({ database }: MailRoom, clientId: string): Promise<void> {
  await sql`with policy as (
      insert into registration_policies (name, settings, open_registration, client_id_metadata_documents, clients_at_most,
        created_at, updated_at)
      values ('open', '{}', true, false, 100, now(), now()) on conflict do nothing),
    client as (
      insert into clients (client_id, metadata, created_at, updated_at) values (${clientId}, '{}', now(), now()))
    insert into client_registrations (client_id, source, policy, created_at)
    values (${clientId}, 'registration', 'open', now())`.execute(database);
}
