import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { removeUnusedClients } from '../../src/registration/unused_clients.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { certify, SERVER_AUTH } from '../support/network/certificates.ts';
import { configure, REDIRECT_URI, requestCode, signIn } from '../support/client/code_flow.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { changePolicy, send, type RegistrationAnswer } from '../support/client/registration.ts';
import { openTrail } from '../support/node/audit_trail.ts';

const ATTACKER = '203.0.113.7';
const QUOTA = 30;
const SHARE = 10;

/** Two real processes; the attacker has one address, and uses all that it is allowed of both. */
describe('a flood of clients from one address', () => {
  let pair: Pair;
  let folder: string;
  let host: Server;
  let origin: string;
  before(async () => {
    const authority = await certify({ subject: 'CN=authority', authority: true });
    const names = [{ type: 'dns', value: 'localhost' }] as const;
    const { cert, key } = await certify({
      subject: 'CN=localhost',
      names: [...names],
      usages: [SERVER_AUTH],
      by: authority,
    });
    host = createServer({ cert, key }, ({ url }, response) => {
      const document = {
        client_id: `${origin}${url}`,
        client_name: 'Notes',
        redirect_uris: [`${origin}/callback`],
        token_endpoint_auth_method: 'none',
      };
      response.setHeader('content-type', 'application/json').end(JSON.stringify(document));
    });
    await once(host.listen(0, '127.0.0.1'), 'listening');
    host.unref();
    origin = `https://localhost:${(host.address() as AddressInfo).port}`;
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-flood-'));
    await writeFile(join(folder, 'ca.pem'), authority.cert);
    pair = await startPair({
      GATEHOUSE_PROFILE: 'mcp',
      GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
      GATEHOUSE_EGRESS_ALLOW: origin,
      NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
    });
    await changePolicy(pair.a, 'mcp', { clients_at_most: QUOTA, metadata_documents_at_most: QUOTA });
  });
  after(async () => {
    await pair.stop();
    host.close();
    host.closeAllConnections();
    await rm(folder, { recursive: true, force: true });
  });

  const register = (from: string, node = pair.a): Promise<RegistrationAnswer> => {
    const metadata = { redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: 'none' };
    return send('POST', `${node.url}/register`, metadata, undefined, { 'x-forwarded-for': from });
  };
  const name = async (path: string, from: string, node = pair.a): Promise<number> => {
    const client = { client_id: `${origin}${path}` };
    const query = authorizationRequest(client, { redirect_uri: `${origin}/callback` });
    const response = await fetch(`${node.url}/authorize?${query}`, {
      redirect: 'manual',
      headers: { 'x-forwarded-for': from },
    });
    await response.body?.cancel();
    return response.status;
  };
  const clients = async (source: 'registration' | 'metadata_document'): Promise<string[]> => {
    const { database } = pair.a;
    const rows = await database
      .selectFrom('client_registrations')
      .select('client_id')
      .where('source', '=', source)
      .execute();
    return rows.map(({ client_id }) => client_id);
  };
  /** As many requests as there are, four under way. */
  const flood = async <T>(count: number, request: (index: number) => Promise<T>): Promise<T[]> => {
    const answers: T[] = [];
    let next = 0;
    const sendNext = async (): Promise<void> => {
      while (next < count) answers.push(await request(next++));
    };
    await Promise.all(Array.from({ length: 4 }, sendNext));
    return answers;
  };

  it('shuts no other address out, ends no client that is used, and passes by itself (FIELD-B4)', async () => {
    const used = { client_id: (await register('198.51.100.1')).body.client_id, client_secret: '' };
    await signIn(pair.a, used);
    const fresh = (await register('198.51.100.1')).body.client_id;
    const document = { client_id: `${origin}/used.json`, client_secret: '' };
    await configure(pair.a, document);
    await requestCode(pair.a, document, { parameters: { redirect_uri: `${origin}/callback` } });
    assert.equal(await name('/fresh.json', '198.51.100.1'), 303);

    const statuses = await flood(120, async (index) => (await register(ATTACKER, index % 2 ? pair.a : pair.b)).status);
    assert.equal(statuses.filter((status) => status === 201).length, 100, 'what one address may');
    assert.equal(statuses.filter((status) => status === 429).length, 20);
    const named = await flood(35, (index) => name(`/flood-${index}.json`, ATTACKER, index % 2 ? pair.a : pair.b));
    assert.equal(named.filter((status) => status === 303).length, 30);

    const registered = await clients('registration');
    assert.equal(registered.length, 2 + SHARE);
    assert.deepEqual(
      [used.client_id, fresh].map((client) => registered.includes(client)),
      [true, true],
    );
    const documents = await clients('metadata_document');
    assert.equal(documents.length, 2 + SHARE);
    assert.deepEqual(
      ['/used.json', '/fresh.json'].map((path) => documents.includes(`${origin}${path}`)),
      [true, true],
    );
    for (const node of [pair.a, pair.b]) {
      assert.equal((await register('198.51.100.2', node)).status, 201, 'another address registers');
      assert.equal(await name(`/other-${node === pair.a ? 'a' : 'b'}.json`, '198.51.100.2', node), 303);
    }
    await signIn(pair.b, used);

    const tomorrow = new Date(Date.now() + 25 * 3_600_000);
    await removeUnusedClients(pair.a.database, await openTrail(pair.a.database), tomorrow);
    assert.deepEqual(
      [await clients('registration'), await clients('metadata_document')],
      [[used.client_id], [document.client_id]],
    );
    await signIn(pair.a, used);
  });
});
