import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { addSeconds } from '../../src/base/clock.ts';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { everythingStored } from '../support/node/stored_values.ts';
import { openMailRoom, type MailRoom } from '../support/node/outbox.ts';
import { eventually } from '../support/node/operator.ts';
import { closeOutside, egressTo, NAME, startOutside, type Outside } from '../support/network/outside_server.ts';

const PATIENCE_MS = 10_000;
/** So long that a receiver that holds back its answers does so for the whole test, on a slow machine too. */
const UNCUT = { totalMilliseconds: 30_000 };

describe('the outbox', () => {
  const rooms: MailRoom[] = [];
  afterEach(async () => {
    // first, since an outbox waits for the answers that a receiver holds back
    closeOutside();
    for (const room of rooms.splice(0)) await room.stop();
  });

  it('delivers what was committed, and nothing that was taken back', async () => {
    const { room, url, receiver } = await scene(answering(200));
    await room.write(url('/taken-back'), { fail: true });
    await room.write(url('/kept'));
    room.node(egressTo([receiver]));
    await isEmpty(room);
    assert.deepEqual(receiver.requests, ['POST /kept']);
    const { rows } = await auditOf(room);
    assert.deepEqual(rows, [{ event: 'message.delivered', client_id: 'client', attempts: 1 }]);
  });

  it('delivers each message once, however many nodes look at the same moment', async () => {
    const { room, url, receiver } = await scene(answering(204));
    const paths = Array.from({ length: 40 }, (_, index) => `/${index}`);
    await Promise.all(paths.map((path, index) => room.write(url(path), { clientId: `client${index % 7}` })));
    for (let nodes = 0; nodes < 4; nodes++) room.node(egressTo([receiver], { limits: { atOncePerHost: 8 } }));
    await isEmpty(room);
    assert.deepEqual(receiver.requests.toSorted(), paths.map((path) => `POST ${path}`).toSorted());
  });

  it('tries again what met a receiver that was down, with the same message id', async () => {
    const seen: string[] = [];
    let status = 503;
    const { room, url, receiver } = await scene((request, response) => {
      request.on('data', (chunk: Buffer) => seen.push(String(chunk)));
      response.writeHead(status).end();
    });
    await room.write(url('/'));
    let now = new Date();
    const node = room.node({ ...egressTo([receiver]), clock: () => now });
    await eventually(async () => (await room.stored())[0]?.attempts === 1 && seen.length === 1, PATIENCE_MS);
    await eventually(async () => (await room.stored())[0]!.due_at > addSeconds(now, 25), PATIENCE_MS);
    status = 200;
    node.wake();
    await delay(100);
    assert.equal(seen.length, 1, 'not before its time');
    now = addSeconds(now, 61);
    node.wake();
    await isEmpty(room);
    assert.equal(seen.length, 2);
    assert.equal(seen[0], seen[1]);
  });

  it('waits twice as long after each attempt, and gives up after the last', async () => {
    const { room, url, receiver } = await scene(answering(500));
    await room.write(url('/'), { secret: 'kept no longer than needed' });
    let now = new Date();
    const node = room.node({ ...egressTo([receiver]), clock: () => now });
    for (const [attempts, least, most] of [
      [1, 30, 60],
      [2, 45, 90],
    ] as const) {
      const wait = async (): Promise<number> => (Number((await room.stored())[0]!.due_at) - Number(now)) / 1000;
      await eventually(async () => (await room.stored())[0]!.attempts === attempts && (await wait()) > 10, PATIENCE_MS);
      const seconds = await wait();
      assert.ok(seconds >= least && seconds <= most, `${seconds} s after attempt ${attempts}`);
      now = addSeconds(now, most);
      node.wake();
    }
    await eventually(async () => (await room.stored())[0]!.failure === 'status 500', PATIENCE_MS);
    assert.equal(receiver.requests.length, 3);
    const { rows } = await auditOf(room);
    assert.deepEqual(rows, [{ event: 'message.failed', client_id: 'client', attempts: 3 }]);
    const sealed = await room.database.selectFrom('outbox').select('sealed').executeTakeFirstOrThrow();
    assert.equal(sealed.sealed, null, 'what failed needs its secret no longer');
  });

  it('gives up at once where the receiver says that it will never take the message', async () => {
    const { room, url, receiver } = await scene(answering(400));
    await room.write(url('/'));
    room.node(egressTo([receiver]));
    await eventually(async () => (await room.stored())[0]!.failure === 'status 400', PATIENCE_MS);
    assert.equal(receiver.requests.length, 1);
  });

  it('follows no redirect, and goes to no address that the way out refuses', async () => {
    const { room, url, receiver } = await scene((request, response) => {
      response.writeHead(request.url === '/moved' ? 302 : 200, { location: '/elsewhere' }).end();
    });
    await room.write(url('/moved'), { clientId: 'moved' });
    await room.write(`https://127.0.0.1:${receiver.port}/`, { clientId: 'private' });
    await room.write(`https://169.254.169.254:${receiver.port}/latest/meta-data`, { clientId: 'cloud' });
    room.node(egressTo([receiver]));
    await eventually(
      async () => room.log.filter((line) => line.includes('outbox.postponed')).length === 3,
      PATIENCE_MS,
    );
    assert.deepEqual(receiver.requests, ['POST /moved']);
    const reasons = room.log.flatMap((line) => (JSON.parse(line) as { reason?: string }).reason ?? []);
    assert.deepEqual(reasons.toSorted(), ['address_refused', 'address_refused', 'redirect_refused']);
  });

  it('lets a slow receiver hold up no other', async () => {
    const { room, url, receiver } = await scene((request, response) => {
      if (request.url !== '/slow') response.end();
    });
    for (let count = 0; count < 20; count++) await room.write(url('/slow'), { clientId: 'slow' });
    await room.write(url('/quick'), { clientId: 'quick' });
    room.node(egressTo([receiver], { limits: UNCUT }));
    await eventually(async () => receiver.requests.includes('POST /quick'), PATIENCE_MS);
    const slow = () => receiver.requests.filter((one) => one === 'POST /slow').length;
    await eventually(async () => slow() === 1, PATIENCE_MS);
    await delay(200);
    assert.equal(slow(), 1);
  });

  it('sends from another node what a node had under way when it died', async () => {
    const { room, url, receiver } = await scene(answering(200));
    // the dead node's sending never ends, as its process's doesn't
    const dying = { post: () => new Promise<never>(() => {}) };
    await room.write(url('/'));
    let now = new Date();
    const dead = room.node({ egress: dying, clock: () => now });
    await eventually(async () => (await room.stored())[0]!.attempts === 1, PATIENCE_MS);
    // nothing to wait for at the end of the test
    dead.stop = () => Promise.resolve();
    const other = room.node({ ...egressTo([receiver]), clock: () => now });
    await delay(200);
    assert.deepEqual(receiver.requests, [], 'not while the lease lasts');
    now = addSeconds(now, 11);
    other.wake();
    await isEmpty(room);
    assert.deepEqual(receiver.requests, ['POST /']);
  });

  it('sends nothing that has expired, and sends no message whose receiver is gone', async () => {
    const { room, url, receiver } = await scene(answering(200));
    await room.write(url('/expired'), { expiresAt: new Date(), clientId: 'late' });
    room.node({ ...egressTo([receiver]), kind: { build: () => Promise.resolve(undefined) } });
    await room.write(url('/'), { clientId: 'gone' });
    await eventually(async () => (await room.stored()).every(({ failure }) => failure === 'expired'), PATIENCE_MS);
    assert.deepEqual(receiver.requests, []);
  });

  it('bounds the attempts at a message that breaks its own building, too', async () => {
    const { room, url, receiver } = await scene(answering(200));
    await room.write(url('/'));
    let now = new Date();
    const broken = { build: () => Promise.reject(new Error('can’t be built')) };
    const node = room.node({ ...egressTo([receiver]), clock: () => now, kind: broken });
    for (const attempts of [1, 2]) {
      const postponed = async (): Promise<boolean> => {
        const [message] = await room.stored();
        return message!.attempts === attempts && message!.due_at > addSeconds(now, 11);
      };
      await eventually(postponed, PATIENCE_MS);
      now = addSeconds(now, 91);
      node.wake();
    }
    await eventually(async () => (await room.stored())[0]!.failure === 'broken', PATIENCE_MS);
  });

  it('keeps no secret in clear, and hands it over with the message it was sealed for', async () => {
    const authorizations: unknown[] = [];
    const { room, url, receiver } = await scene((request, response) => {
      authorizations.push(request.headers.authorization);
      response.end();
    });
    await room.write(url('/'), { secret: 'a notification token' });
    const stored = await everythingStored(room.database);
    assert.deepEqual(
      stored.filter(({ text }) => text.includes('notification token')),
      [],
    );
    room.node(egressTo([receiver]));
    await isEmpty(room);
    assert.deepEqual(authorizations, ['Bearer a notification token']);
    assert.ok(!room.log.join().includes('notification token'));
  });

  it('lets receivers that are down, however many, take no more than half of its places', async () => {
    let held = 0;
    const { room, url, receiver } = await scene(({ url: path }, response) => {
      if (path === '/well' || receiver.requests.length <= 12) response.writeHead(path === '/well' ? 200 : 503).end();
      else held += 1;
    });
    for (let index = 0; index < 12; index++) await room.write(url(`/${index}`), { clientId: `down${index}` });
    let now = new Date();
    const limits = { ...UNCUT, atOncePerHost: 20 };
    const node = room.node({ ...egressTo([receiver], { limits }), clock: () => now });
    const counted = async () => (await room.stored()).every(({ attempts, due_at }) => attempts === 1 && due_at > now);
    await eventually(async () => receiver.requests.length === 12 && (await counted()), PATIENCE_MS);
    await delay(300);
    now = addSeconds(now, 91);
    node.wake();
    await eventually(async () => held === 4, PATIENCE_MS);
    await room.write(url('/well'), { clientId: 'well' });
    node.wake();
    await eventually(async () => receiver.requests.includes('POST /well'), PATIENCE_MS);
    assert.equal(held, 4);
  });

  it('leaves messages to nodes that know their kind', async () => {
    const { room, url, receiver } = await scene(answering(200));
    await room.write(url('/'), { kind: 'of_a_newer_release' });
    await room.write(url('/letter'));
    room.node(egressTo([receiver]));
    await eventually(async () => receiver.requests.length === 1, PATIENCE_MS);
    await delay(100);
    assert.equal((await room.stored()).filter(({ attempts }) => attempts === 0).length, 1);
  });

  it('keeps what failed for a week, and what waits for as long as it waits', async () => {
    const { room, url, receiver } = await scene(answering(400));
    await room.write(url('/'));
    room.node(egressTo([receiver]));
    await eventually(async () => (await room.stored())[0]!.failure !== null, PATIENCE_MS);
    await room.write(url('/'), { kind: 'of_a_newer_release' });
    const inDays = (days: number): Date => addSeconds(new Date(), days * 86_400);
    await removeExpiredRows(room.database, inDays(6));
    assert.equal((await room.stored()).length, 2);
    await removeExpiredRows(room.database, inDays(8));
    assert.deepEqual(
      (await room.stored()).map(({ failure }) => failure),
      [null],
    );
  });

  it('finishes what it is sending before it stops', async () => {
    const arrived = Promise.withResolvers<() => void>();
    const { room, url, receiver } = await scene((_request, response) => arrived.resolve(() => response.end()));
    await room.write(url('/'));
    const node = room.node(egressTo([receiver]));
    const answer = await arrived.promise;
    const stopped = node.stop();
    answer();
    await stopped;
    assert.deepEqual(await room.stored(), []);
  });

  async function scene(answer: RequestListener): Promise<Scene> {
    const room = await openMailRoom();
    rooms.push(room);
    const receiver = await startOutside(answer);
    return { room, receiver, url: (path) => `https://${NAME}:${receiver.port}${path}` };
  }
});

interface Scene {
  readonly room: MailRoom;
  readonly receiver: Outside;
  readonly url: (path: string) => string;
}

function answering(status: number): RequestListener {
  return (_request, response) => void response.writeHead(status).end();
}

function isEmpty(room: MailRoom): Promise<void> {
  return eventually(async () => (await room.stored()).length === 0, PATIENCE_MS);
}

async function auditOf({ database }: MailRoom) {
  const rows = await database.selectFrom('audit_events').select(['event', 'client_id', 'details']).execute();
  return {
    rows: rows.map(({ event, client_id, details }) => ({
      event,
      client_id,
      attempts: (details as { attempts?: number }).attempts,
    })),
  };
}
