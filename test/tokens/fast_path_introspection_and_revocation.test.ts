import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { basic, registerApplication, registerPublicApplication, signIn } from '../support/client/code_flow.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { bringSecret, registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';

interface Asked {
  readonly path: '/introspect' | '/revoke';
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Headers for pages and for scripts of other origins: clients on the fast path are neither. */
const FOR_BROWSERS = /^(?:access-control-|content-security-policy|permissions-policy|referrer-policy|x-frame-options)/;
const CHANGING = new Set(['date', 'x-request-id', 'dpop-nonce', 'content-length']);

/** The fast path must answer each client and each kind of request as the ordinary path does. */
describe('introspection and revocation of JWTs on the fast path', () => {
  let gatehouse: Gatehouse;
  let machine: RegisteredClient;
  let application: RegisteredClient;
  const askers: Record<string, RegisteredClient> = {};
  before(async () => {
    gatehouse = await startGatehouse();
    const introspects = [gatehouse.demo.resource];
    machine = await registerClient(gatehouse);
    application = await registerApplication(gatehouse);
    const files = await registerResource(gatehouse, 'files');
    askers['resource server'] = await registerClient(gatehouse, { resources: [], introspects });
    askers['its client'] = machine;
    askers['application'] = application;
    askers['with post'] = await registerClient(gatehouse, {
      introspects,
      token_endpoint_auth_method: 'client_secret_post',
    });
    askers['of another API'] = await registerClient(gatehouse, { resources: [], introspects: [files.resource] });
    askers['that anybody can name'] = await registerPublicApplication(gatehouse);
    askers['that was revoked'] = await registerClient(gatehouse, { introspects });
    const revoked = askers['that was revoked'].client_id;
    await gatehouse.adminCall('POST', `/clients/${revoked}/revoke`, { reason: 'A test' });
    askers['with a brought secret'] = await registerClient(gatehouse, { introspects });
    await bringSecret(gatehouse, askers['with a brought secret'].client_id, 'a secret of an operator: ümläut & more');
    askers['with a wrong secret'] = { ...askers['resource server'], client_secret: machine.client_secret };
    askers['that nobody knows'] = { ...machine, client_id: 'nobody' };
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const send = async ({ path, body, headers }: Asked, query = '') => {
    const response = await fetch(`${gatehouse.url}${path}${query}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body,
    });
    const kept = [...response.headers].filter(([name]) => !CHANGING.has(name) && !FOR_BROWSERS.test(name));
    return { status: response.status, headers: Object.fromEntries(kept), body: await response.text() };
  };
  const leanAnswers = async (): Promise<number> => {
    const metrics = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
    return Number(/^gatehouse_lean_answers_total (\d+)/m.exec(metrics)?.[1]);
  };
  /** Sends the request on both paths; returns whether the fast path answered the first one. */
  const compare = async (asked: Asked, what: string): Promise<boolean> => {
    const earlier = await leanAnswers();
    const lean = await send(asked);
    const taken = (await leanAnswers()) - earlier === 1;
    assert.deepEqual(lean, await send(asked, '?ordinary'), what);
    assert.equal((await leanAnswers()) - earlier, taken ? 1 : 0, what);
    assert.equal(lean.status < 500, true, what);
    return taken;
  };
  const asking = (
    token: string,
    { client_id, client_secret }: RegisteredClient = askers['resource server']!,
    rest = '',
    headers: Readonly<Record<string, string>> = {},
  ): Asked => ({
    path: '/introspect',
    body: `token=${encodeURIComponent(token)}${rest}`,
    headers: { authorization: basic(client_id, client_secret), ...headers },
  });
  const eventsOf = (jti: string) =>
    gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'outcome', 'actor_type', 'actor_id', 'client_id', 'details'])
      .where('event', '=', 'token.revoked')
      .where((row) => row(row.ref('details', '->>').key('jti'), '=', jti))
      .execute();

  it('takes what resource servers ask, about the tokens of programs and of people', async () => {
    const { tokens } = await signIn(gatehouse, application, { scope: 'openid notes:read' });
    for (const token of [await requestToken(gatehouse.url, machine), tokens.access_token]) {
      assert.equal(await compare(asking(token), 'plain'), true);
      assert.equal(await compare(asking(token, undefined, '&token_type_hint=access_token'), 'hint'), true);
      assert.equal(await compare(asking(token, undefined, '', { accept: 'application/json' }), 'accept'), true);
    }
  });

  it('answers every client as the ordinary path does, about the tokens of all', async () => {
    const { tokens } = await signIn(gatehouse, application, { scope: 'openid notes:read' });
    const asked = [
      await requestToken(gatehouse.url, machine),
      tokens.access_token,
      tokens.refresh_token!,
      tokens.id_token!,
      'x.y.z',
    ];
    for (const [name, asker] of Object.entries(askers)) {
      for (const token of asked) {
        await compare(asking(token, asker), name);
        const { client_id, client_secret } = asker;
        const inForm = `&${new URLSearchParams({ client_id, client_secret })}`;
        await compare({ ...asking(token, asker, inForm), headers: {} }, `${name}, post`);
      }
    }
  });

  it('answers every form and every header as the ordinary path does', async () => {
    const token = await requestToken(gatehouse.url, machine);
    for (const rest of [
      '&',
      '&token=',
      `&token=${token}`,
      '&unknown=1',
      '&client_id=nobody',
      '&token_type_hint=x',
      '%20',
    ])
      await compare(asking(token, undefined, rest), rest);
    for (const body of ['', 'token', 'token=', 'token_type_hint=access_token', '{}'])
      await compare({ ...asking(token), body }, body);
    for (const accept of ['text/html', 'application/json;q=0.5', 'application/xml', '*/*;q=0'])
      await compare(asking(token, undefined, '', { accept }), accept);
    for (const header of [{ dpop: 'x' }, { origin: 'https://app.example.com' }, { authorization: 'Bearer x' }])
      await compare(asking(token, undefined, '', header), JSON.stringify(header));
  });

  it('leaves an answer that is to be signed to the ordinary path (RFC 9701)', async () => {
    const token = await requestToken(gatehouse.url, machine);
    const earlier = await leanAnswers();
    const signed = await send(asking(token, undefined, '', { accept: 'application/token-introspection+jwt' }));
    assert.equal(signed.headers['content-type'], 'application/token-introspection+jwt');
    assert.equal(await leanAnswers(), earlier);
  });

  it('checks each reason why a token is dead, though it remembers that its signature was good', async () => {
    const active = async (token: string) =>
      (JSON.parse((await send(asking(token))).body) as { active: boolean }).active;
    const client = await registerClient(gatehouse);
    const tokenOf = async () => {
      const token = await requestToken(gatehouse.url, client);
      assert.equal(await active(token), true);
      return token;
    };
    const expiring = await tokenOf();
    moveClock(601);
    assert.equal(await active(expiring), false);
    resetClock();
    const revoked = await tokenOf();
    await send({ ...asking(revoked, client), path: '/revoke' });
    assert.equal(await active(revoked), false);
    const { tokens } = await signIn(gatehouse, application, { scope: 'openid notes:read' });
    assert.equal(await active(tokens.access_token), true);
    await send({ ...asking(tokens.refresh_token!, application), path: '/revoke' });
    assert.equal(await active(tokens.access_token), false, 'its grant is gone');
    const signedBefore = await tokenOf();
    const body = { alg: 'ES256', reason: 'A test', emergency: true };
    assert.equal((await gatehouse.adminCall('POST', '/keys/rotate', body)).status, 200);
    assert.equal(await active(signedBefore), false);
    const ofRevokedClient = await tokenOf();
    await gatehouse.adminCall('POST', `/clients/${client.client_id}/revoke`, { reason: 'A test' });
    assert.equal(await active(ofRevokedClient), false);
  });

  it('revokes as the ordinary path does: one event, and the same answer', async () => {
    const jtiOf = (token: string) =>
      (JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { jti: string }).jti;
    const revoke = (token: string, who = machine): Asked => ({ ...asking(token, who), path: '/revoke' });
    const [lean, ordinary] = [await requestToken(gatehouse.url, machine), await requestToken(gatehouse.url, machine)];
    const earlier = await leanAnswers();
    const answer = await send(revoke(lean));
    assert.equal((await leanAnswers()) - earlier, 1);
    assert.deepEqual(answer, await send(revoke(ordinary), '?ordinary'));
    assert.equal(answer.status, 200);
    const shown = (events: Awaited<ReturnType<typeof eventsOf>>) =>
      events.map(({ details: { jti: _, ...details }, ...event }) => ({ ...event, details }));
    const events = await eventsOf(jtiOf(lean));
    assert.equal(events.length, 1);
    assert.deepEqual(shown(events), shown(await eventsOf(jtiOf(ordinary))));
    // again, and by others
    assert.equal(await compare(revoke(lean), 'again'), true);
    for (const [name, asker] of Object.entries(askers)) {
      if (asker !== machine) await compare(revoke(await requestToken(gatehouse.url, machine), asker), name);
    }
  });

  it('revokes many at once, each on record once, though some are named twice', async () => {
    const tokens = await Promise.all(Array.from({ length: 40 }, () => requestToken(gatehouse.url, machine)));
    const answers = await Promise.all(
      [...tokens, ...tokens.slice(0, 10)].map((token) => send({ ...asking(token, machine), path: '/revoke' })),
    );
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
    for (const token of tokens) {
      assert.equal((await send(asking(token))).body, '{"active":false}');
      const { jti } = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { jti: string };
      assert.equal((await eventsOf(jti)).length, 1);
    }
  });
});
