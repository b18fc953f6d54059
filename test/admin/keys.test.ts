import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin, type Body } from '../support/client/admin.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('the signing keys in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const kidOf = async (token: string): Promise<string> =>
    (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid;

  it('rotate: what was next signs, at once, and no private half is shown', async () => {
    const { body: known, text } = await admin.get('/keys');
    const next = known.items.find((key) => key['alg'] === 'ES256' && key['status'] === 'next');
    const rotated = await admin.post('/keys/rotate', { alg: 'ES256', reason: 'Exercise' });
    assert.equal(rotated.status, 200, rotated.text);
    assert.equal((rotated.body['current'] as Body)['kid'], next?.['kid']);
    assert.equal(await kidOf(await requestToken(gatehouse.url, gatehouse.demo)), next?.['kid']);
    for (const shown of [text, rotated.text]) assert.ok(!/"(d|p|q|dp|dq|qi)":/.test(shown));
    assert.equal((await admin.get('/clients')).status, 200, 'A token under the key before is still good.');
  });

  it('do not rotate again before verifiers can have seen the next one', async () => {
    const again = await admin.post('/keys/rotate', { alg: 'ES256', reason: 'Too soon' });
    assert.equal(again.status, 409);
    const seconds = Number(again.headers.get('retry-after'));
    assert.ok(seconds > 290 && seconds <= 300, String(seconds));
  });

  it('rotate in an emergency whenever asked, and the old key is gone from JWKS', async () => {
    const token = await requestToken(gatehouse.url, gatehouse.demo);
    const rotated = await admin.post('/keys/rotate', { alg: 'ES256', reason: 'It leaked', emergency: true });
    assert.equal(rotated.status, 200);
    assert.equal('previous' in rotated.body, false);
    const jwks = (await (await fetch(`${gatehouse.url}/jwks`)).json()) as { keys: { kid: string }[] };
    const gone = await kidOf(token);
    assert.ok(!jwks.keys.some(({ kid }) => kid === gone));
    admin = await Admin.of(gatehouse);
  });

  it('rotate once for one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'rotation' };
    const body = { alg: 'RS256', reason: 'Exercise', emergency: true };
    const [one, two] = await Promise.all([
      admin.post('/keys/rotate', body, headers),
      admin.post('/keys/rotate', body, headers),
    ]);
    assert.deepEqual([one.status, two.status], [200, 200]);
    assert.equal(one.text, two.text);
  });

  it('refuse an algorithm that this server does not sign with, and a rotation without a reason', async () => {
    assert.equal((await admin.post('/keys/rotate', { alg: 'HS256', reason: 'x' })).body.errors[0]?.pointer, '/alg');
    assert.equal((await admin.post('/keys/rotate', { alg: 'ES256' })).body.errors[0]?.pointer, '/reason');
  });
});
