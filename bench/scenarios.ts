/** Prepares the scenarios of the benchmark, which it then repeats. */
import { createHash } from 'node:crypto';
import { Person } from '../test/support/person/person.ts';
import { any, codeFlow, each, post, refreshing, type Conversation } from './conversations.ts';
import { API, REDIRECT_URI, type BenchClient, type Seed } from './seed.ts';

export interface Scenario {
  readonly name: string;
  /** One conversation for each connection. */
  readonly conversations: readonly Conversation[];
}

export const MACHINE = { grant_types: ['client_credentials'], resources: [{ resource: API, scopes: ['notes:read'] }] };
const APPLICATION = {
  ...MACHINE,
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: [REDIRECT_URI],
  id_token_signed_response_alg: 'ES256',
};
const ACCOUNT = { email: 'bench@example.com', password: 'a password for the bench only' };
const VERIFIER = 'bench'.repeat(10);
const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url');
const CONNECTIONS = 16;
export const TOKEN_FORM = 'grant_type=client_credentials&scope=notes%3Aread';

/** Prepares all scenarios on the same server. */
export async function prepare(seed: Seed, url: string, clientCount: number): Promise<Scenario[]> {
  const clients = await seed.clients(clientCount, MACHINE);
  const tokenRequests = clients.map((client) => post('/token', client, TOKEN_FORM));
  const [resourceServer] = await seed.clients(1, { ...MACHINE, introspects: [API] });
  const [application] = await seed.clients(1, APPLICATION);
  await seed.account(ACCOUNT.email, ACCOUNT.password);
  const tokens = await issue(url, clients);
  const introspections = tokens.map(({ token }) => post('/introspect', resourceServer!, `token=${token}`));
  // not the introspected tokens, which must stay valid
  const revocations = (await issue(url, clients)).map(({ client, token }) => post('/revoke', client, `token=${token}`));
  return [
    { name: 'client credentials', conversations: times(() => any(tokenRequests)) },
    { name: 'refresh', conversations: await refreshes(url, application!) },
    { name: 'code flow, two requests', conversations: await codeFlows(url, application!) },
    { name: 'introspection of a JWT', conversations: times(() => any(introspections)) },
    {
      name: 'revocation of a JWT',
      conversations: times((index) => each(revocations, Math.floor((index * revocations.length) / CONNECTIONS))),
    },
  ];
}

/** Prepares only the scenario of client credentials. */
export async function tokensOnly(seed: Seed, clientCount: number): Promise<Conversation[]> {
  const clients = await seed.clients(clientCount, MACHINE);
  const requests = clients.map((client) => post('/token', client, TOKEN_FORM));
  return times(() => any(requests));
}

function times(make: (index: number) => Conversation): Conversation[] {
  return Array.from({ length: CONNECTIONS }, (_, index) => make(index));
}

async function issue(url: string, clients: readonly BenchClient[]) {
  const issued: { client: BenchClient; token: string }[] = [];
  for (const client of clients) {
    const { access_token } = await ask(url, client, TOKEN_FORM);
    issued.push({ client, token: access_token });
  }
  return issued;
}

async function refreshes(url: string, application: BenchClient): Promise<Conversation[]> {
  const person = logInTo(url);
  const conversations: Conversation[] = [];
  for (let i = 0; i < CONNECTIONS; i++) {
    const code = (await person.authorize(authorizationUrl(url, application))).searchParams.get('code');
    const redirect = encodeURIComponent(REDIRECT_URI);
    const form = `grant_type=authorization_code&code=${code}&redirect_uri=${redirect}&code_verifier=${VERIFIER}`;
    conversations.push(refreshing(application, (await ask(url, application, form)).refresh_token));
  }
  return conversations;
}

async function codeFlows(url: string, client: BenchClient): Promise<Conversation[]> {
  const conversations: Conversation[] = [];
  for (let i = 0; i < CONNECTIONS; i++) {
    const person = logInTo(url);
    await person.authorize(authorizationUrl(url, client));
    const cookie = [...person.cookies]
      .filter(([, { path }]) => path === '/')
      .map(([name, { value }]) => `${name}=${value}`)
      .join('; ');
    conversations.push(
      codeFlow({ client, redirectUri: REDIRECT_URI, cookie, challenge: CHALLENGE, verifier: VERIFIER }),
    );
  }
  return conversations;
}

function logInTo(url: string): Person {
  return new Person({ issuer: url, account: ACCOUNT }, { remember: true });
}

function authorizationUrl(url: string, { id }: BenchClient): string {
  const query = new URLSearchParams({
    client_id: id,
    response_type: 'code',
    redirect_uri: REDIRECT_URI,
    scope: 'openid notes:read',
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
  });
  return `${url}/authorize?${query}`;
}

async function ask(url: string, client: BenchClient, form: string) {
  const [head = '', body = ''] = post('/token', client, form).toString().split('\r\n\r\n');
  const authorization = /Authorization: (.+)\r\n/.exec(head)?.[1] ?? '';
  const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded' };
  const response = await fetch(`${url}/token`, { method: 'POST', headers, body });
  if (response.status !== 200) throw new Error(`No token: ${response.status} ${await response.text()}`);
  return (await response.json()) as { access_token: string; refresh_token: string };
}
