/** An application's back-channel logout endpoint, which checks a logout token as OpenID Connect Back-Channel Logout 1.0 (2.6) says. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify, type JWTPayload } from 'jose';
import { eventually } from '../node/operator.ts';
import { PRIVATE, startOutside } from './outside_server.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import type { Arrival, Person } from '../person/person.ts';

export interface LogoutReceiver {
  /** For GATEHOUSE_EGRESS_ALLOW. */
  readonly origin: string;
  readonly requests: readonly string[];
  /** Every logout token that came, as it came. */
  readonly tokens: string[];
  /** How it answers; with 200 unless a test says otherwise. */
  answer: (response: ServerResponse, path: string) => void;
  /** Waits until so many tokens have come. */
  received(count: number, withinMilliseconds?: number): Promise<readonly string[]>;
}

const PATIENCE_MS = 10_000;

/** End it with `closeOutside`. */
export async function startLogoutReceiver(): Promise<LogoutReceiver> {
  const tokens: string[] = [];
  const outside = await startOutside(
    (request, response) => {
      void text(request).then((body) => {
        assert.equal(request.headers['content-type'], 'application/x-www-form-urlencoded');
        const form = new URLSearchParams(body);
        assert.deepEqual([...form.keys()], ['logout_token']);
        tokens.push(form.get('logout_token')!);
        receiver.answer(response, request.url ?? '');
      });
    },
    { address: PRIVATE, tls: false },
  );
  const receiver: LogoutReceiver = {
    origin: `http://${PRIVATE}:${outside.port}`,
    requests: outside.requests,
    tokens,
    answer: (response) => response.writeHead(200).end(),
    async received(count, withinMilliseconds = PATIENCE_MS) {
      await eventually(async () => tokens.length >= count, withinMilliseconds);
      return tokens;
    },
  };
  return receiver;
}

/** Throws unless this client would accept the token; answers its claims. */
export async function verifyLogoutToken(
  { issuer, url }: Gatehouse,
  token: string,
  clientId: string,
  alg = 'RS256',
): Promise<JWTPayload> {
  const keys = createRemoteJWKSet(new URL(`${url}/jwks`));
  const { payload } = await jwtVerify(token, keys, {
    issuer,
    audience: clientId,
    typ: 'logout+jwt',
    algorithms: [alg],
    requiredClaims: ['iat', 'exp', 'jti', 'events'],
  });
  assert.ok(payload.exp! - payload.iat! <= 120, 'lives two minutes at most');
  assert.deepEqual(payload['events'], { 'http://schemas.openid.net/event/backchannel-logout': {} });
  assert.ok(payload.sub !== undefined || payload['sid'] !== undefined);
  assert.equal('nonce' in payload, false);
  assert.deepEqual(Object.keys(decodeProtectedHeader(token)).toSorted(), ['alg', 'kid', 'typ']);
  return payload;
}

/** Asks for a logout and answers the page that asks back. */
export async function logOut(
  person: Person,
  { issuer }: Pick<Gatehouse, 'issuer'>,
  parameters: Readonly<Record<string, string>> = {},
  decision: 'leave' | 'stay' = 'leave',
): Promise<Arrival> {
  const { page } = await person.open(`${issuer}/logout?${new URLSearchParams(parameters)}`);
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(page)?.[1] ?? assert.fail(page);
  return person.submit(`${issuer}/logout/confirm`, { xsrf, ...(decision === 'leave' && { logout: 'yes' }) });
}
