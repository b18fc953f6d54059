/** Does the minimum work of a token server on Koa: reads a form, hashes a secret, and signs a JWT with ES256. */
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import Koa from 'koa';

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const header = encode({ alg: 'ES256', typ: 'at+jwt', kid: 'ceiling' });

const app = new Koa();
app.use(async (ctx) => {
  const chunks: Buffer[] = [];
  for await (const chunk of ctx.req) chunks.push(chunk as Buffer);
  const form = new URLSearchParams(Buffer.concat(chunks).toString());
  createHash('sha256').update(ctx.get('authorization')).digest();
  const now = Math.floor(Date.now() / 1000);
  const scope = form.get('scope');
  const claims = {
    iss: 'http://127.0.0.1',
    aud: 'https://api.example.com',
    sub: 'client',
    client_id: 'client',
    scope,
    iat: now,
    exp: now + 600,
    jti: randomBytes(16).toString('base64url'),
  };
  const signed = `${header}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  ctx.set('Cache-Control', 'no-store');
  ctx.body = {
    access_token: `${signed}.${signature.toString('base64url')}`,
    expires_in: 600,
    token_type: 'Bearer',
    scope,
  };
});
app.listen(Number(process.env['PORT']), '127.0.0.1');
