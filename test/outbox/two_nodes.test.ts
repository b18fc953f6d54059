import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import type { Gatehouse } from '../support/node/gatehouse.ts';
import {
  logOut,
  startLogoutReceiver,
  verifyLogoutToken,
  type LogoutReceiver,
} from '../support/network/logout_receiver.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';
import { closeOutside } from '../support/network/outside_server.ts';
import { Person } from '../support/person/person.ts';
import { startPair, type Pair } from '../support/node/pair.ts';

describe('the outbox of two nodes', () => {
  let receiver: LogoutReceiver;
  let pair: Pair;
  before(async () => {
    receiver = await startLogoutReceiver();
    pair = await startPair({ GATEHOUSE_EGRESS_ALLOW: receiver.origin, LOG_LEVEL: 'debug' });
  });
  after(async () => {
    closeOutside();
    await pair.stop();
  });
  beforeEach(() => {
    receiver.tokens.length = 0;
    receiver.answer = (response) => response.writeHead(200).end();
  });

  it('sends each message once', async () => {
    const clients = await Promise.all(Array.from({ length: 6 }, () => register()));
    const person = new Person(pair.a);
    for (const client of clients) await signIn(pair.a, client, { person });
    await logOut(person, pair.a);
    await receiver.received(clients.length, 20_000);
    await eventually(async () => (await waiting()) === 0, 10_000);
    const audiences = receiver.tokens.map((token) => String(decodeJwt(token).aud));
    assert.deepEqual(audiences.toSorted(), clients.map(({ client_id }) => client_id).toSorted());
  });

  it('sends what a node was sending when it was killed, from the other node', async () => {
    const client = await register();
    const { person } = await signIn(pair.a, client);
    // the receiver answers no request, so the node is still sending
    receiver.answer = () => {};
    await logOut(person, pair.a);
    const [token] = await receiver.received(1);
    const sends = (node: Gatehouse): boolean =>
      node.log.some((line) => line.includes('outbox.claimed') && line.includes(String(decodeJwt(token!).jti)));
    await eventually(async () => sends(pair.a) || sends(pair.b));
    const [sender, survivor] = sends(pair.a) ? [pair.a, pair.b] : [pair.b, pair.a];
    pair.kill(sender);
    receiver.answer = (response) => response.writeHead(200).end();
    const [first, second] = await receiver.received(2, 40_000);
    assert.equal(decodeJwt(second!).jti, decodeJwt(first!).jti);
    await verifyLogoutToken(survivor, second!, client.client_id);
    await eventually(async () => (await waiting()) === 0, 10_000);
  });

  function register(): Promise<RegisteredClient> {
    return registerApplication(pair.a, {
      backchannel_logout_uri: `${receiver.origin}/logout`,
      backchannel_logout_session_required: true,
    });
  }

  async function waiting(): Promise<number> {
    const rows = await pair.a.database.selectFrom('outbox').select('message_id').execute();
    return rows.length;
  }
});
