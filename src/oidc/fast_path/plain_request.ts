/**
 * Parses the requests that the fast path supports: requests of a client with a secret, in the simplest form that client
 * libraries send. The library handles each other form, valid or not.
 */
import type { IncomingMessage } from 'node:http';

/** The credentials of a client that authenticates with a secret, in the header or in the form. */
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

/** Exchanges a code or refresh token for all scopes that the person has granted (RFC 6749, 4.1.3 and 6). */
export interface PlainPersonRequest extends PlainCredentials {
  readonly grantType: 'authorization_code' | 'refresh_token';
  /** The value of the code or refresh token. */
  readonly used: string;
  /** Present if `used` is a code. */
  readonly answer?: CodeAnswer;
}

/** The parameters that must accompany a code. */
export interface CodeAnswer {
  readonly redirectUri: string;
  readonly codeVerifier: string;
}

export type PlainTokenRequest = PlainMachineRequest | PlainPersonRequest;

/** A request for introspection (RFC 7662, 2.1) or revocation (RFC 7009, 2.1), which have the same parameters. */
export interface PlainTokenQuestion extends PlainCredentials {
  readonly token: string;
}

const BODY_BYTES_AT_MOST = 2_048;
const FORM = /^application\/x-www-form-urlencoded(?:; ?charset=utf-8)?$/i;
const ATTESTATION_HEADERS = ['oauth-client-attestation', 'oauth-client-attestation-pop'];
/**
 * Headers that the fast path does not support: a proof, a page of another origin, an encoding, other authentication.
 */
const UNSUPPORTED_HEADERS = [
  'dpop',
  'origin',
  'expect',
  'content-encoding',
  'transfer-encoding',
  ...ATTESTATION_HEADERS,
];
const CREDENTIALS = ['client_id', 'client_secret'];
const GRANT_PARAMETERS = ['scope', 'resource', 'code', 'redirect_uri', 'code_verifier', 'refresh_token'];
const TOKEN_REQUEST = new Set([...CREDENTIALS, 'grant_type', ...GRANT_PARAMETERS]);
/** The syntax of a code verifier (RFC 7636, 4.1). */
const CODE_VERIFIER = /^[\w.~-]{43,128}$/;
const TOKEN_QUESTION = new Set([...CREDENTIALS, 'token', 'token_type_hint']);
/** A JWS in compact form (RFC 7515, 7.1). The library handles each other kind of token. */
const JWS = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const BASIC = /^basic ((?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/i;
/** A client id and a secret that form encoding does not change (RFC 6749, 2.3.1). */
const PLAIN_CREDENTIALS = /^([\w.~-]+):([\w.~-]+)$/;
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/;

/** Returns the length of the form in bytes; `undefined` if the fast path does not support the request's headers. */
export function plainBodyBytes({ method, headers }: IncomingMessage): number | undefined {
  if (method !== 'POST' || !FORM.test(headers['content-type'] ?? '')) return undefined;
  if (UNSUPPORTED_HEADERS.some((name) => headers[name] !== undefined)) return undefined;
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

/** Ignores the hint about the token's type, because it may be wrong (RFC 7662, 2.1). */
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

/** Returns `undefined` for a form with a parameter that is unknown, empty, repeated, or not plain ASCII. */
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
