/**
 * Makes random requests, valid and invalid: first a plain request, then random changes to it that often make it
 * invalid.
 */
import { basic } from '../client/code_flow.ts';
import type { RegisteredClient } from '../node/operator.ts';
import type { Random } from '../random.ts';

/** A request without its code or token, because each path gets its own code or token. */
export interface RequestDraft {
  readonly path: string;
  readonly parameters: [name: string, value: string][];
  readonly headers: Record<string, string>;
  /** Text after the form. */
  tail: string;
  /** The names of the client and of the changes, for the report of a difference. */
  readonly what: string[];
}

export interface SentRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The placeholder for the code or token in a draft. */
export const VALUE = '{value}';

export type Client = RegisteredClient & { readonly name: string; readonly method: 'basic' | 'post' | 'none' };

export function draft(path: string, client: Client, parameters: readonly (readonly [string, string])[]): RequestDraft {
  const made: RequestDraft = {
    path,
    parameters: parameters.map(([name, value]) => [name, value]),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    tail: '',
    what: [client.name],
  };
  authenticate(made, client, client.method);
  return made;
}

function authenticate(
  { headers, parameters }: RequestDraft,
  { client_id, client_secret }: RegisteredClient,
  method: Client['method'],
): void {
  if (method === 'basic') headers['authorization'] = basic(client_id, client_secret);
  else parameters.push(['client_id', client_id]);
  if (method === 'post') parameters.push(['client_secret', client_secret]);
}

export function written({ path, parameters, headers, tail }: RequestDraft, value: string): SentRequest {
  const form = new URLSearchParams(parameters.map(([name, its]) => [name, its.replace(VALUE, () => value)]));
  const body = `${form}${tail}`;
  return { path, headers: { ...headers, 'content-length': String(Buffer.byteLength(body)) }, body };
}

export interface Variety {
  readonly random: Random;
  readonly clients: readonly Client[];
  readonly scopes: readonly string[];
  readonly resources: readonly string[];
}

type Change = (made: RequestDraft, variety: Variety) => void;

const HEADERS = [
  { accept: 'text/html' },
  { accept: 'application/json' },
  { accept: 'application/xml' },
  { origin: 'https://app.example.com' },
  { dpop: 'nothing' },
  { expect: '100-continue' },
  { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
  { 'content-type': 'application/json' },
  { 'content-encoding': 'gzip' },
  { authorization: 'Bearer nothing' },
  { authorization: 'Basic Og==' },
  { authorization: '' },
];
const UNKNOWN: readonly (readonly [string, string])[] = [
  ['unknown', '1'],
  ['__proto__', '1'],
  ['audience', 'https://api.example.com'],
  ['authorization_details', '[]'],
  ['claims', '{}'],
  ['code_verifier', 'x'.repeat(43)],
  ['client_assertion', 'x.y.z'],
];
const TAILS = ['&', '&=', '&scope', '&scope=%ZZ', '&scope=ü', '&scope=%00', '&=x', '&scope=a+%22b'];
const GRANT_TYPES = ['client_credentials', 'authorization_code', 'refresh_token', 'password', ''];

const CHANGES: Readonly<Record<string, Change>> = {
  missing: (made, { random }) => void made.parameters.splice(randomIndex(made, random), 1),
  doubled: (made, { random }) => void made.parameters.push([...made.parameters[randomIndex(made, random)]!]),
  empty: (made, { random }) => void (made.parameters[randomIndex(made, random)]![1] = ''),
  wrong: (made, { random }) =>
    void (made.parameters[randomIndex(made, random)]![1] += random.pick(['x', ' ', '%', 'ü', '.'])),
  unknown: (made, { random }) => void made.parameters.push([...random.pick(UNKNOWN)]),
  scope: (made, { random, scopes }) => set(made, 'scope', random.some(scopes, random.between(1, 3)).join(' ')),
  spaces: (made, { random, scopes }) =>
    set(made, 'scope', random.some(scopes, random.between(1, 3)).join('  ') + random.pick(['', ' '])),
  resource: (made, { random, resources }) => set(made, 'resource', random.pick(resources)),
  grant: (made, { random }) => set(made, 'grant_type', random.pick(GRANT_TYPES)),
  hint: (made, { random }) => set(made, 'token_type_hint', random.pick(['access_token', 'refresh_token', 'x'])),
  redirect: (made) => set(made, 'redirect_uri', 'https://app.example.com/else'),
  header: (made, { random }) => void Object.assign(made.headers, random.pick(HEADERS)),
  tail: (made, { random }) => void (made.tail = random.pick(TAILS)),
  secret: (made, variety) => impersonate(made, variety, (client) => ({ ...client, client_secret: 'wrong' })),
  stranger: (made, variety) => impersonate(made, variety, (client) => ({ ...client, client_id: 'unknown' })),
  other: (made, variety) => impersonate(made, variety, (client) => client),
  unauthenticated: (made) => removeCredentials(made),
  twice: (made, { random, clients }) =>
    authenticate(made, random.pick(clients), random.pick(['basic', 'post', 'none'])),
};

/** Makes one or two random changes to two of five requests. */
export function vary(made: RequestDraft, variety: Variety): RequestDraft {
  const { random } = variety;
  if (random.next() < 0.6) return made;
  for (const name of random.some(Object.keys(CHANGES), random.between(1, 2))) {
    if (made.parameters.length === 0) break;
    CHANGES[name]!(made, variety);
    made.what.push(name);
  }
  return made;
}

function randomIndex({ parameters }: RequestDraft, random: Random): number {
  return random.between(0, parameters.length - 1);
}

function set({ parameters }: RequestDraft, name: string, value: string): void {
  const found = parameters.find(([its]) => its === name);
  if (found) found[1] = value;
  else parameters.push([name, value]);
}

function removeCredentials(made: RequestDraft): void {
  delete made.headers['authorization'];
  const others = made.parameters.filter(([name]) => !name.startsWith('client_'));
  made.parameters.splice(0, Infinity, ...others);
}

function impersonate(made: RequestDraft, { random, clients }: Variety, as: (client: Client) => Client): void {
  const client = random.pick(clients);
  removeCredentials(made);
  authenticate(made, as(client), random.next() < 0.8 ? client.method : random.pick(['basic', 'post', 'none']));
}
