/**
 * The requests that the fast path understands: of a client with a secret, in the plainest form that client libraries send.
 * Every other form, valid or not, is for the library to read.
 */
import type { IncomingMessage } from 'node:http';

/** The two ways in which a client proves itself with no more than its secret. */
export interface PlainCredentials {
  readonly clientId: string;
  readonly clientSecret: string;
  readonly method: 'client_secret_basic' | 'client_secret_post';
}

export interface PlainMachineRequest extends PlainCredentials {
  readonly grantType: 'client_credentials';
  readonly scope: readonly string[];
  readonly resource: string | undefined;
}

/** A code or refresh token, exchanged for everything that the person has granted (RFC 6749, 4.1.3 and 6). */
export interface PlainPersonRequest extends PlainCredentials {
  readonly grantType: 'authorization_code' | 'refresh_token';
  /** The code or refresh token itself. */
  readonly used: string;
  /** What must come with a code. */
  readonly answer?: CodeAnswer;
}

export interface CodeAnswer {
  readonly redirectUri: string;
  readonly codeVerifier: string;
}

export type PlainTokenRequest = PlainMachineRequest | PlainPersonRequest;

/** Introspection (RFC 7662, 2.1) and revocation (RFC 7009, 2.1) have the same form. */
export interface PlainTokenQuestion extends PlainCredentials {
  readonly token: string;
}

const BODY_BYTES_AT_MOST = 2_048;
const FORM = /^application\/x-www-form-urlencoded(?:; ?charset=utf-8)?$/i;
/** Headers whose meaning is not known here: a proof, a page of another origin, an encoding, another authentication. */
const ATTESTATION_HEADERS = ['oauth-client-attestation', 'oauth-client-attestation-pop'];
const FOREIGN_HEADERS = ['dpop', 'origin', 'expect', 'content-encoding', 'transfer-encoding', ...ATTESTATION_HEADERS];
const CREDENTIALS = ['client_id', 'client_secret'];
const OF_A_GRANT = ['scope', 'resource', 'code', 'redirect_uri', 'code_verifier', 'refresh_token'];
const TOKEN_REQUEST = new Set([...CREDENTIALS, 'grant_type', ...OF_A_GRANT]);
/** RFC 7636, 4.1. */
const CODE_VERIFIER = /^[\w.~-]{43,128}$/;
const TOKEN_QUESTION = new Set([...CREDENTIALS, 'token', 'token_type_hint']);
/** A JWS in compact form (RFC 7515, 7.1); the library looks for every other kind of token. */
const JWS = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const BASIC = /^basic ((?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/i;
/** A name and a secret that form encoding does not change (RFC 6749, 2.3.1). */
const PLAIN_CREDENTIALS = /^([\w.~-]+):([\w.~-]+)$/;
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/;

/** The length of the form, if the request may be for the fast path at all. */
export function plainBodyBytes({ method, headers }: IncomingMessage): number | undefined {
  if (method !== 'POST' || !FORM.test(headers['content-type'] ?? '')) return undefined;
  if (FOREIGN_HEADERS.some((name) => headers[name] !== undefined)) return undefined;
  const length = Number(headers['content-length']);
  return length > 0 && length <= BODY_BYTES_AT_MOST ? length : undefined;
}

export function readTokenRequest(authorization: string | undefined, body: string): PlainTokenRequest | undefined {
  const form = readForm(body, TOKEN_REQUEST);
  const credentials = form && readCredentials(authorization, form);
  if (!credentials) return undefined;
  const { grant_type, client_id: _, client_secret: __, ...parameters } = form;
  switch (grant_type) {
    case 'client_credentials':
      return readMachineRequest(credentials, parameters);
    case 'authorization_code':
      return readCodeRequest(credentials, parameters);
    case 'refresh_token':
      return readRefreshRequest(credentials, parameters);
    default:
      return undefined;
  }
}

type Parameters = Readonly<Record<string, string>>;

function readMachineRequest(
  credentials: PlainCredentials,
  { scope = '', resource, ...others }: Parameters,
): PlainMachineRequest | undefined {
  if (Object.keys(others).length > 0 || (scope !== '' && !SCOPE.test(scope))) return undefined;
  const scopes = scope === '' ? [] : scope.split(' ');
  if (new Set(scopes).size !== scopes.length) return undefined;
  return { ...credentials, grantType: 'client_credentials', scope: scopes, resource };
}

function readCodeRequest(
  credentials: PlainCredentials,
  { code: used, redirect_uri: redirectUri, code_verifier: codeVerifier, ...others }: Parameters,
): PlainPersonRequest | undefined {
  if (used === undefined || redirectUri === undefined || Object.keys(others).length > 0) return undefined;
  if (codeVerifier === undefined || !CODE_VERIFIER.test(codeVerifier)) return undefined;
  return { ...credentials, grantType: 'authorization_code', used, answer: { redirectUri, codeVerifier } };
}

function readRefreshRequest(
  credentials: PlainCredentials,
  { refresh_token: used, ...others }: Parameters,
): PlainPersonRequest | undefined {
  if (used === undefined || Object.keys(others).length > 0) return undefined;
  return { ...credentials, grantType: 'refresh_token', used };
}

/** The hint is ignored: it may be wrong (RFC 7662, 2.1). */
export function readTokenQuestion(authorization: string | undefined, body: string): PlainTokenQuestion | undefined {
  const form = readForm(body, TOKEN_QUESTION);
  if (form?.['token'] === undefined || !JWS.test(form['token'])) return undefined;
  const credentials = readCredentials(authorization, form);
  return credentials && { ...credentials, token: form['token'] };
}

function readCredentials(
  authorization: string | undefined,
  { client_id: named, client_secret: inForm }: Readonly<Record<string, string>>,
): PlainCredentials | undefined {
  if (authorization === undefined) {
    if (named === undefined || inForm === undefined) return undefined;
    return { clientId: named, clientSecret: inForm, method: 'client_secret_post' };
  }
  if (inForm !== undefined) return undefined;
  const [, encoded = ''] = BASIC.exec(authorization) ?? [];
  const [, clientId, clientSecret] = PLAIN_CREDENTIALS.exec(Buffer.from(encoded, 'base64').toString('latin1')) ?? [];
  if (clientId === undefined || clientSecret === undefined) return undefined;
  if (named !== undefined && named !== clientId) return undefined;
  return { clientId, clientSecret, method: 'client_secret_basic' };
}

/** `undefined` for every form with a parameter that is unknown, empty, doubled, or not plain ASCII. */
function readForm(body: string, parameters: ReadonlySet<string>): Readonly<Record<string, string>> | undefined {
  const form: Record<string, string> = {};
  for (const pair of body.split('&')) {
    const split = pair.indexOf('=');
    const name = pair.slice(0, split);
    const value = split === -1 ? undefined : decode(pair.slice(split + 1));
    if (!parameters.has(name) || name in form || !value) return undefined;
    form[name] = value;
  }
  return form;
}

function decode(text: string): string | undefined {
  if (!/^[\x21-\x7e]*$/.test(text)) return undefined;
  if (!/[%+]/.test(text)) return text;
  try {
    const decoded = decodeURIComponent(text.replaceAll('+', ' '));
    return /^[\x20-\x7e]*$/.test(decoded) ? decoded : undefined;
  } catch {
    return undefined;
  }
}
