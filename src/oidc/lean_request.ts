/**
 * The token requests that the lean path understands: client credentials with a secret, in the plainest form that a
 * client library sends. Whatever is written in any other way, be it good or bad, is for the ordinary path to read.
 */
import type { IncomingMessage } from 'node:http';

export interface LeanRequest {
  readonly clientId: string;
  readonly clientSecret: string;
  readonly method: 'client_secret_basic' | 'client_secret_post';
  readonly scope: readonly string[];
  readonly resource: string | undefined;
}

const BODY_BYTES_AT_MOST = 2_048;
const FORM = /^application\/x-www-form-urlencoded(?:; ?charset=utf-8)?$/i;
/** Means something that is not looked at here: a proof, a page of another origin, an encoding, another authentication. */
const FOREIGN_HEADERS = [
  'dpop',
  'origin',
  'expect',
  'content-encoding',
  'transfer-encoding',
  'oauth-client-attestation',
  'oauth-client-attestation-pop',
];
const PARAMETERS = new Set(['grant_type', 'scope', 'resource', 'client_id', 'client_secret']);
const BASIC = /^basic ((?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/i;
/** Two words that are the same with and without form encoding (RFC 6749, 2.3.1). */
const PLAIN_CREDENTIALS = /^([\w.~-]+):([\w.~-]+)$/;
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/;

/** How long the form is, where the request may be for the lean path at all. */
export function leanBodyBytes(request: IncomingMessage, path: string): number | undefined {
  const { method, url, headers } = request;
  if (method !== 'POST' || url !== path || !FORM.test(headers['content-type'] ?? '')) return undefined;
  if (FOREIGN_HEADERS.some((name) => headers[name] !== undefined)) return undefined;
  const length = Number(headers['content-length']);
  return length > 0 && length <= BODY_BYTES_AT_MOST ? length : undefined;
}

export function readLeanRequest(authorization: string | undefined, body: string): LeanRequest | undefined {
  const form = readForm(body);
  if (form?.['grant_type'] !== 'client_credentials') return undefined;
  const { scope = '', resource } = form;
  if (scope !== '' && !SCOPE.test(scope)) return undefined;
  const credentials = readCredentials(authorization, form);
  const scopes = scope === '' ? [] : scope.split(' ');
  if (!credentials || new Set(scopes).size !== scopes.length) return undefined;
  return { ...credentials, scope: scopes, resource };
}

function readCredentials(
  authorization: string | undefined,
  { client_id: named, client_secret: inForm }: Readonly<Record<string, string>>,
): Pick<LeanRequest, 'clientId' | 'clientSecret' | 'method'> | undefined {
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

/** `undefined` for every form with a parameter that is unknown, empty, there twice, or not plain ASCII. */
function readForm(body: string): Readonly<Record<string, string>> | undefined {
  const form: Record<string, string> = {};
  for (const pair of body.split('&')) {
    const split = pair.indexOf('=');
    const name = pair.slice(0, split);
    const value = split === -1 ? undefined : decode(pair.slice(split + 1));
    if (!PARAMETERS.has(name) || name in form || !value) return undefined;
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
