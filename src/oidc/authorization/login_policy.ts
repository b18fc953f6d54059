/**
 * Decides whether the current login satisfies an authorization request (OpenID Connect Core, 3.1.2.1; RFC 9470). If a
 * new login can't satisfy the request, the application gets an error and the person is not asked again.
 */
import { errors, interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider';
import { decodeJwt } from 'jose';
import type { Subjects } from '../../clients/subject.ts';
import { NO_MEMBERSHIPS } from '../../roles/memberships.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { formatCode } from '../device/device_flow.ts';
import { personIn } from '../provider/library_types.ts';
import { DEVICE_PAGES } from '../request/request_events.ts';
import { idTokenClaims } from './claims.ts';
import { claimsForApiAreMissing } from './claims_for_apis.ts';
import { meets, type DemandedContexts } from './demanded_context.ts';
import { personRights, type PersonRightsSettings } from './person_rights.ts';

const { Check, Prompt } = interactionPolicy;

/** The values of `prompt` (OpenID Connect Core, 3.1.2.1), for discovery (Initiating User Registration 1.0, 4). */
export const PROMPTS = ['none', 'login', 'consent', 'select_account'];

/** Library checks that are replaced: they would ask for a login again and again, and ignore a hint after a login. */
const REPLACED = ['id_token_hint', 'claims_id_token_sub_value', 'essential_acr', 'essential_acrs'];

export interface LoginPolicySettings extends PersonRightsSettings {
  readonly subjects: Subjects;
  readonly demandedContexts: DemandedContexts;
  /** The contexts that a login at this server can have. */
  readonly acrValues: readonly string[];
}

/** The library's policy for prompts, with these checks replaced. */
export function loginPolicy(settings: LoginPolicySettings): ReturnType<typeof interactionPolicy.base> {
  const policy = interactionPolicy.base();
  const { checks } = policy.get('login')!;
  for (const reason of REPLACED) checks.remove(reason);
  checks.add(
    new Check('other_account', 'another account is required', 'login_required', needsOtherAccount(settings.subjects)),
  );
  checks.add(new Check('acr_values', 'a stronger login is required', 'login_required', needsOtherContext(settings)));
  const consent = policy.get('consent')!;
  consent.checks.add(
    new Check('device', 'the person decides about each device', 'consent_required', needsDecision, deviceDetails),
  );
  consent.checks.add(claimsForApiAreMissing());
  // after the login, which is a choice of an account too
  policy.add(new Prompt({ name: 'select_account', requestable: true }), 1);
  // when it is known who the person is, and before they are asked to consent
  policy.add(personRights(settings), 2);
  return policy;
}

/** Each device needs a decision, even for an application that the person allowed before (RFC 8628, 5.4). */
function needsDecision({ oidc }: KoaContextWithOIDC): boolean {
  return DEVICE_PAGES.has(oidc.route) && oidc.result?.consent === undefined;
}

/** What the page shows so that the person can compare it with the device. */
function deviceDetails({ oidc }: KoaContextWithOIDC): { user_code?: string } {
  const { DeviceCode } = oidc.entities;
  return DeviceCode ? { user_code: formatCode(DeviceCode.userCode) } : {};
}

/**
 * Requires a login with another account. If the person has just logged in and the account is still another one, a new
 * login would not help, and the request fails (Core, 3.1.2.2).
 */
function needsOtherAccount(subjects: Subjects) {
  return ({ oidc }: KoaContextWithOIDC): boolean => {
    const wanted = wantedSubjects(oidc.params ?? {});
    if (wanted.length === 0) return false;
    const accountId = oidc.session?.accountId;
    const sub = accountId === undefined ? undefined : subjects(accountId, recordOf(oidc.client!));
    if (wanted.every((one) => one === sub)) return false;
    if (oidc.result?.login)
      throw new errors.LoginRequired('the end-user logged in with another account than the requested one');
    return true;
  };
}

/** The subjects of the ID token hint (its signature is already verified) and of the `claims` parameter. */
function wantedSubjects({ id_token_hint, claims }: Readonly<Record<string, unknown>>): unknown[] {
  return [
    ...(typeof id_token_hint === 'string' ? [decodeJwt(id_token_hint).sub] : []),
    ...[idTokenClaims(claims)?.['sub']?.value].filter((value) => value !== undefined),
  ];
}

/** Requires a login with a stronger context. If the person has just logged in, a new login would not help. */
function needsOtherContext({ demandedContexts, acrValues }: LoginPolicySettings) {
  return (ctx: KoaContextWithOIDC): boolean => {
    const { oidc } = ctx;
    const memberships = oidc.account ? personIn(ctx).memberships : NO_MEMBERSHIPS;
    const demand = demandedContexts.of({ client: recordOf(oidc.client!).metadata, memberships }, oidc.params ?? {});
    const { acr } = oidc.session ?? {};
    if (meets(acr, demand)) return false;
    const { values, essential, required } = demand;
    const isRequiredMissing = required !== undefined && !meets(acr, { ...demand, values: [] });
    const attainable = (value: string): boolean => acrValues.includes(value);
    const isAttainable =
      (required === undefined || attainable(required)) && (values.length === 0 || values.some(attainable));
    if (oidc.result?.login === undefined && isAttainable) return true;
    if (essential || isRequiredMissing)
      throw new errors.UnmetAuthenticationRequirements('none of the requested acr values can be satisfied');
    // a voluntary acr that can't be provided is no error; the token states the acr of the login (OpenID Connect Core,
    // 5.5.1.1)
    return false;
  };
}
