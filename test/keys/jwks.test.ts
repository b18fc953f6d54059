import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { calculateJwkThumbprint, createLocalJWKSet, createRemoteJWKSet, jwtVerify, type JSONWebKeySet } from 'jose';
import pg from 'pg';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('the keys that verify our tokens (RFC 7517, 7638)', () => {
  let gatehouse: Gatehouse;
  let token = '';
  before(async () => {
    gatehouse = await startGatehouse();
    token = await requestToken(gatehouse.url, gatehouse.demo);
  });
  after(() => gatehouse.stop());

  const read = async () => {
    const response = await fetch(`${gatehouse.url}/jwks`);
    return { response, jwks: (await response.json()) as JSONWebKeySet };
  };

  it('are what jose needs to verify a token, found by the kid alone', async () => {
    const keys = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    const { protectedHeader } = await jwtVerify(token, keys, { issuer: gatehouse.issuer });
    const { jwks } = await read();
    const named = jwks.keys.filter(({ kid }) => kid === protectedHeader.kid);
    assert.equal(named.length, 1);
    assert.equal(await calculateJwkThumbprint(named[0]!), protectedHeader.kid);
  });

  it('say how long they may be kept, and by what they are known again', async () => {
    const { response } = await read();
    assert.match(response.headers.get('content-type') ?? '', /^application\/jwk-set\+json/);
    assert.equal(response.headers.get('cache-control'), 'public, max-age=300');
    assert.match(response.headers.get('etag') ?? '', /^"[\w-]+"$/);
  });

  it('are there without the database: what was issued can be verified while it is away', async () => {
    const { pathname } = new URL(gatehouse.databaseUrl);
    const name = decodeURIComponent(pathname.slice(1));
    const elsewhere = new URL(gatehouse.databaseUrl);
    elsewhere.pathname = '/postgres';
    const postgres = new pg.Client({ connectionString: elsewhere.href });
    await postgres.connect();
    const may = (allowed: boolean) => postgres.query(`alter database "${name}" allow_connections ${allowed}`);
    await may(false);
    try {
      await postgres.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name]);
      const { response, jwks } = await read();
      assert.equal(response.status, 200);
      await jwtVerify(token, createLocalJWKSet(jwks), { issuer: gatehouse.issuer });
      const metadata = await fetch(`${gatehouse.url}/.well-known/openid-configuration`);
      assert.equal(metadata.status, 200);
      await metadata.body?.cancel();
    } finally {
      await may(true);
      await postgres.end();
    }
  });
});
