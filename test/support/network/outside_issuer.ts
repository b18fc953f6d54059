/** An issuer outside: keys of its own, and assertions of which any part can be wrong. jose signs them. */
import { randomUUID } from 'node:crypto';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import type { Admin } from '../client/admin.ts';

export interface AssertionParts {
  /** Members that are `undefined` are left out. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
  /** Signs in the place of the issuer's key. */
  readonly signer?: CryptoKey | Uint8Array;
}

export interface OutsideIssuer {
  readonly issuer: string;
  readonly kid: string;
  readonly jwk: JWK;
  readonly publicKey: CryptoKey;
  /** An assertion that is good for one hour at most, unless a part says otherwise. */
  assert(parts?: AssertionParts): Promise<string>;
  claims(changed?: Readonly<Record<string, unknown>>): Record<string, unknown>;
}

/** An issuer that no admin has trusted yet. `audience` is the server that its assertions are for. */
export async function makeIssuer(audience: string, alg = 'ES256'): Promise<OutsideIssuer> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const kid = randomUUID();
  const issuer = `https://${randomUUID()}.example`;
  const claims = (changed: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => {
    const now = Math.floor(Date.now() / 1000);
    const good = { iss: issuer, sub: 'user-7', aud: audience, iat: now, exp: now + 300, jti: randomUUID() };
    return JSON.parse(JSON.stringify({ ...good, ...changed })) as Record<string, unknown>;
  };
  return {
    issuer,
    kid,
    jwk: { ...(await exportJWK(publicKey)), kid },
    publicKey,
    claims,
    assert: ({ claims: changed = {}, header = {}, signer = privateKey } = {}) =>
      new SignJWT(claims(changed))
        .setProtectedHeader(JSON.parse(JSON.stringify({ alg, kid, ...header })) as { alg: string })
        .sign(signer),
  };
}

/** Has an admin trust the issuer with its registered key. */
export async function trust(
  admin: Admin,
  { issuer, jwk }: OutsideIssuer,
  changed: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const { status, text } = await admin.post('/trusted-issuers', {
    issuer,
    display_name: 'Outside',
    jwks: { keys: [jwk] },
    algs: ['ES256'],
    purposes: ['jwt_bearer', 'token_exchange'],
    ...changed,
  });
  if (status !== 201) throw new Error(`Not trusted: ${status} ${text}`);
}
