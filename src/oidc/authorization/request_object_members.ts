/**
 * Checks the types of the parameters in a request object (RFC 9101) before the library reads them. The library converts
 * each to a string, which fails for an object such as `{"toString":1}`, and it does so before it verifies the signature.
 */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import { decodeJwt } from 'jose';
import { authorizationSteps, parametersOf } from '../provider/library_internals.ts';

/** The endpoints that take a request object. */
const ENDPOINTS = [
  'authorization',
  'device_authorization',
  'pushed_authorization_request',
  'backchannel_authentication',
] as const;

/** The library's step that reads the request object. */
const READS_OBJECT = 'processRequestObject';

/** What a parameter may be besides a string; a list of resources is the only one of several values (RFC 8707, 2). */
const OTHER_TYPES: Readonly<Record<string, readonly [type: string, accepts: (value: unknown) => boolean]>> = {
  max_age: ['a number', isNumber],
  requested_expiry: ['a number', isNumber],
  claims: ['an object', isObject],
  authorization_details: ['an array', Array.isArray],
  resource: ['an array of strings', (value) => Array.isArray(value) && value.every(isString)],
};

/** Adds the check to the library's steps. They are the same for all providers, so that it is added once. */
export function checkRequestObjectMembers(): void {
  for (const endpoint of ENDPOINTS) {
    const steps = authorizationSteps(endpoint);
    if (steps.includes(demandParameterTypes)) continue;
    const index = steps.findIndex(({ name }) => name === READS_OBJECT);
    if (index < 0) throw new Error(`The library has no step ${READS_OBJECT} at the endpoint ${endpoint}.`);
    steps.splice(index, 0, demandParameterTypes);
  }
}

/** Throws `invalid_request_object` for the first parameter of a wrong type, and leaves other faults to the library. */
function demandParameterTypes(ctx: KoaContextWithOIDC, next: () => Promise<unknown>): Promise<unknown> {
  const { params, entities } = ctx.oidc;
  const request = params?.['request'];
  // a pushed request was checked when it was pushed; the server itself wrote its object if the client sent none
  if (typeof request !== 'string' || entities.PushedAuthorizationRequest) return next();
  const known = parametersOf(ctx);
  for (const [name, value] of Object.entries(claimsIn(request))) {
    if (!known.has(name) || isString(value)) continue;
    if (name === 'registration') throw new errors.RegistrationNotSupported();
    const [type, accepts] = OTHER_TYPES[name] ?? [];
    if (accepts?.(value)) continue;
    throw new errors.InvalidRequestObject(`${name} must be a string${type === undefined ? '' : ` or ${type}`}`);
  }
  return next();
}

function claimsIn(request: string): object {
  try {
    return decodeJwt(request);
  } catch {
    return {};
  }
}

function isString(value: unknown): boolean {
  return typeof value === 'string';
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number';
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
