/** Makes the repeated requests of a benchmark: single requests, or requests that depend on the previous response. */
import type { BenchClient } from './seed.ts';

export interface Answer {
  readonly status: number;
  /** The status line and the headers. */
  readonly head: string;
  readonly body: string;
}

export interface Conversation {
  begin(): Buffer;
  /** The unit's next request; `undefined` when the unit is done. */
  nextRequest(answer: Answer): Buffer | undefined;
  expects(answer: Answer): boolean;
}

/** Sends one of the requests per unit, chosen at random. */
export function any(requests: readonly Buffer[]): Conversation {
  return {
    begin: () => requests[Math.floor(Math.random() * requests.length)]!,
    nextRequest: () => undefined,
    expects: ({ status }) => status === 200,
  };
}

/** Sends the next request per unit, and starts over after the last one. */
export function each(requests: readonly Buffer[], from: number): Conversation {
  let next = from;
  return { ...any(requests), begin: () => requests[next++ % requests.length]! };
}

/** Sends refresh requests; each response replaces the refresh token. */
export function refreshing(client: BenchClient, refreshToken: string): Conversation {
  let current = refreshToken;
  return {
    begin: () => post('/token', client, `grant_type=refresh_token&refresh_token=${current}`),
    expects: ({ status }) => status === 200,
    nextRequest({ body }) {
      current = (JSON.parse(body) as { refresh_token: string }).refresh_token;
      return undefined;
    },
  };
}

export interface CodeFlow {
  readonly client: BenchClient;
  readonly redirectUri: string;
  readonly cookie: string;
  readonly challenge: string;
  readonly verifier: string;
}

/** A person who is logged in and has consented gets a code, and the client exchanges it for tokens. */
export function codeFlow({ client, redirectUri, cookie, challenge, verifier }: CodeFlow): Conversation {
  const query = new URLSearchParams({
    client_id: client.id,
    response_type: 'code',
    redirect_uri: redirectUri,
    scope: 'openid notes:read',
    state: 'state',
    code_challenge: challenge,
    code_challenge_method: 'S256',
  });
  const authorize = Buffer.from(`GET /authorize?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ${cookie}\r\n\r\n`);
  const redirect = encodeURIComponent(redirectUri);
  return {
    begin: () => authorize,
    expects: ({ status, head }) => status === 200 || (status === 303 && /[?&]code=/.test(head)),
    nextRequest({ head }) {
      const [, code] = /[?&]code=([\w-]+)/.exec(head) ?? [];
      if (code === undefined) return undefined;
      const form = `grant_type=authorization_code&code=${code}&redirect_uri=${redirect}&code_verifier=${verifier}`;
      return post('/token', client, form);
    },
  };
}

/** Returns a POST request with a form and Basic authentication, as bytes. */
export function post(path: string, { id, secret }: BenchClient, form: string): Buffer {
  const basic = Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64');
  return Buffer.from(
    `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic ${basic}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${form.length}\r\n\r\n${form}`,
  );
}
