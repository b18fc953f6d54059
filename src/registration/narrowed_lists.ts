/**
 * Narrows what a client asks for to what its policy allows, so that a client can register the same metadata at any
 * server (RFC 7591, 2 and 3.2.1). Only lists are narrowed. Redirect URIs, keys and members that make a client stricter
 * are never left out, because the client relies on them.
 */
import { CIBA, usableGrantTypes } from '../clients/metadata/flows.ts';
import type { RegistrationPolicy } from './policy.ts';
import { refusedMember, type RegistrationRefused } from './refusal.ts';

type Asked = Readonly<Record<string, unknown>>;

/** Longer lists are left as they are: the validation refuses them. */
const ENTRIES_AT_MOST = 100;
/** Members that only mean something with the grant type CIBA. */
const OF_CIBA = [
  'backchannel_token_delivery_mode',
  'backchannel_client_notification_endpoint',
  'backchannel_authentication_request_signing_alg',
];

/** Returns the metadata with narrowed lists. Throws `RegistrationRefused` if no grant type is left. */
export function narrowToPolicy(policy: RegistrationPolicy, asked: Asked): Asked {
  const method = methodUnder(policy, asked['token_endpoint_auth_method']);
  const grantTypes = textsIn(asked['grant_types']);
  if (!grantTypes) return asked;
  const usable = usableGrantTypes(grantTypes, policy.grant_types, method);
  if (usable.length === 0) {
    const possible = usableGrantTypes(policy.grant_types, policy.grant_types, method);
    if (possible.length === 0) throw noneIsPossible(method);
    throw refusedMember('grant_types', `must contain at least one of ${possible.join(', ')}`);
  }
  const left = Object.entries(asked).filter(([member]) => usable.includes(CIBA) || !ofCiba(grantTypes, member));
  return {
    ...Object.fromEntries(left),
    token_endpoint_auth_method: method,
    grant_types: usable,
    ...narrowedResponseTypes(asked, usable),
  };
}

/** The policy permits no grant type that a client with this method can use. */
function noneIsPossible(method: unknown): RegistrationRefused {
  if (method !== 'none')
    return refusedMember('grant_types', 'can not be met: the registration policy permits none that issues a token');
  const detail = 'must not be none: the registration policy permits only grant types of clients that authenticate';
  return refusedMember('token_endpoint_auth_method', detail);
}

/** True for a member that goes with the grant type CIBA, if the client asked for that. */
function ofCiba(grantTypes: readonly string[], member: string): boolean {
  return grantTypes.includes(CIBA) && OF_CIBA.includes(member);
}

/**
 * A client becomes public only where no other client is possible: a client that believes that it authenticates must not
 * be one that any program can use.
 */
function methodUnder({ token_endpoint_auth_methods: methods }: RegistrationPolicy, asked: unknown): unknown {
  const isPublicOnly = methods.every((method) => method === 'none');
  return isPublicOnly && typeof asked === 'string' ? 'none' : asked;
}

function narrowedResponseTypes(asked: Asked, grantTypes: readonly string[]): Asked {
  const responseTypes = textsIn(asked['response_types']);
  if (!responseTypes) return {};
  const hasCode = responseTypes.includes('code') && grantTypes.includes('authorization_code');
  return { response_types: hasCode ? ['code'] : [] };
}

/** Returns the list without repetitions; `undefined` if it is no list of texts. */
function textsIn(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value) || value.length > ENTRIES_AT_MOST) return undefined;
  const texts = value.filter((entry) => typeof entry === 'string');
  return texts.length === value.length ? [...new Set(texts)] : undefined;
}
