import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { authorizationRequest, send as sendRequest } from '../support/client/authorization_request.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import {
  makePolicy,
  makeToken,
  register,
  send,
  type Json,
  type RegistrationAnswer,
} from '../support/client/registration.ts';

const A = 'https://a.example.com/cb';
const B = 'https://b.example.com/cb';
const CALLBACK = `https://${NAME}/callback`;

describe('a client that comes by itself with a sector_identifier_uri', () => {
  let gatehouse: Gatehouse;
  let outside: Outside;
  let token: string;
  const documents = new Map<string, { readonly value: unknown; readonly headers?: Record<string, string> }>();
  const at = (path: string): string => `https://${NAME}:${outside.port}${path}`;
  const publish = (path: string, value: unknown, headers?: Record<string, string>): string => {
    documents.set(path, { value, ...(headers && { headers }) });
    return at(path);
  };
  const timesAsked = (path: string): number => outside.requests.filter((one) => one === `GET ${path}`).length;

  before(async () => {
    outside = await startOutside((request, response) => {
      const document = documents.get(request.url ?? '');
      response
        .writeHead(document ? 200 : 404, { 'content-type': 'application/json', ...document?.headers })
        .end(JSON.stringify(document?.value ?? {}));
    });
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_EGRESS_ALLOW: `https://${NAME}:${outside.port}` },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    });
    await makePolicy(gatehouse, { name: 'partners', client_id_metadata_documents: true });
    token = (await makeToken(gatehouse, 'partners', { uses: 100 })).initial_access_token;
  });
  afterEach(resetClock);
  after(async () => {
    await gatehouse.stop();
    closeOutside();
  });

  const join = (sector: string, metadata: Json = {}): Promise<RegistrationAnswer> =>
    register(
      gatehouse,
      { subject_type: 'pairwise', redirect_uris: [A, B], sector_identifier_uri: sector, ...metadata },
      token,
    );
  const put = (client: RegistrationAnswer['body'], metadata: Json): Promise<RegistrationAnswer> =>
    send(
      'PUT',
      client.registration_client_uri,
      { client_id: client.client_id, subject_type: 'pairwise', ...metadata },
      client.registration_access_token,
    );

  it('joins the sector whose document lists its redirect URIs (oidcc-registration-sector-uri)', async () => {
    const { status, body } = await join(publish('/both', [A, B]));
    assert.equal(status, 201, body.error_description);
    assert.equal(body['sector_identifier_uri'], at('/both'));
    assert.equal(timesAsked('/both'), 1);
  });

  it('is refused where the document lists others (oidcc-registration-sector-bad)', async () => {
    const { status, body } = await join(publish('/others', [A, 'https://b.example.com/other']));
    assert.deepEqual([status, body.error], [400, 'invalid_client_metadata']);
    assert.equal(
      body.error_description,
      'sector_identifier_uri must return a list of every redirect URI of the client, and of its jwks_uri if it needs no redirect URI',
    );
  });

  it('has it read anew each time that it registers or updates itself, however new the last copy is (FIELD-C14)', async () => {
    const headers = { 'cache-control': 'max-age=3600' };
    assert.equal((await join(at('/mended'))).status, 400, 'it is not there yet');
    publish('/mended', [A], headers);
    assert.equal((await join(at('/mended'))).status, 400, 'it lacks one URI');
    publish('/mended', [A, B], headers);
    const { status, body } = await join(at('/mended'));
    assert.equal(status, 201, body.error_description);
    publish('/mended', [B], headers);
    assert.equal((await join(at('/mended'))).status, 400, 'it names the URI no longer');
    publish('/mended', [A, B, CALLBACK], headers);
    const sector = { redirect_uris: [A, CALLBACK], sector_identifier_uri: at('/mended') };
    assert.equal((await put(body, sector)).status, 200);
    assert.equal(timesAsked('/mended'), 5);
    const byAdmin = { subject_type: 'pairwise', redirect_uris: [A], sector_identifier_uri: at('/of-an-admin') };
    assert.equal((await gatehouse.adminCall('POST', '/clients', byAdmin)).status, 400);
    publish('/of-an-admin', [A], headers);
    assert.equal((await gatehouse.adminCall('POST', '/clients', byAdmin)).status, 201);
  });

  it('is refused where there is no such document', async () => {
    publish('/object', { redirect_uris: [A, B] });
    for (const path of ['/nothing', '/object']) {
      const { status, body } = await join(at(path));
      assert.deepEqual([status, body.error], [400, 'invalid_client_metadata'], path);
    }
  });

  it('makes this server send no request inside its own network (CVE-2026-1180)', async () => {
    for (const sector of ['https://127.0.0.2/sector', 'https://169.254.169.254/sector', 'http://127.0.0.1/sector']) {
      const { status, body } = await join(sector);
      assert.deepEqual([status, body.error], [400, 'invalid_client_metadata'], sector);
      assert.doesNotMatch(body.error_description ?? '', /ECONN|127\.0|169\.254|timed/);
    }
  });

  it('makes this server send no request at all without a token that opens registration', async () => {
    const sector_identifier_uri = publish('/unasked', [A]);
    const { status } = await register(gatehouse, { redirect_uris: [A], sector_identifier_uri }, 'no-token');
    assert.equal(status, 401);
    assert.equal(timesAsked('/unasked'), 0);
  });

  it('does not leave its sector’s document behind when it updates itself', async () => {
    const { body: client } = await join(publish('/sector', [A, B]));
    const sector_identifier_uri = at('/sector');
    const fewer = await put(client, { redirect_uris: [B], sector_identifier_uri });
    assert.equal(fewer.status, 200, fewer.body.error_description);
    assert.equal(timesAsked('/sector'), 1, 'nothing new to vouch for');
    const stranger = await put(fewer.body, { redirect_uris: [B, 'https://c.example.com/cb'], sector_identifier_uri });
    assert.deepEqual([stranger.status, stranger.body.error], [400, 'invalid_client_metadata']);
    const elsewhere = await put(fewer.body, { redirect_uris: [B], sector_identifier_uri: publish('/of-c', [A]) });
    assert.equal(elsewhere.status, 400);
    const moved = await put(fewer.body, { redirect_uris: [B], sector_identifier_uri: publish('/of-b', [B]) });
    assert.equal(moved.status, 200, moved.body.error_description);
  });

  it('as a metadata document joins it by the same rule, and each time that the document changes', async () => {
    const publishClient = (path: string, sector_identifier_uri: string): void => {
      const client = { client_id: at(path), redirect_uris: [CALLBACK], token_endpoint_auth_method: 'none' };
      publish(path, { ...client, subject_type: 'pairwise', sector_identifier_uri }, { 'cache-control': 'max-age=0' });
    };
    const ask = (path: string): Promise<Response> =>
      sendRequest(gatehouse, authorizationRequest({ client_id: at(path) }, { redirect_uri: CALLBACK }));

    publishClient('/stranger.json', publish('/of-others', [A]));
    const refused = await ask('/stranger.json');
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /sector_identifier_uri must return a list of every redirect URI/);
    publishClient('/client.json', publish('/of-client', [CALLBACK]));
    assert.equal((await ask('/client.json')).status, 303);
    publishClient('/client.json', at('/of-others'));
    moveClock(301);
    assert.equal((await ask('/client.json')).status, 400);
  });
});
