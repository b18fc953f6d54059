/**
 * Whether the login at hand will do for what an application asks (OpenID Connect Core, 3.1.2.1; RFC 9470). Where a new login can't mend it either the application is told, and nobody asked again.
 */
import { errors, interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider';
import { decodeJwt } from 'jose';
import { z } from 'zod';
import { ACR_VALUES } from '../../accounts/authentication_context.ts';
import type { Subjects } from '../../clients/subject.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

const { Check } = interactionPolicy;

/** The library's own checks of these would ask for a login again and again, and forget a hint once somebody logged in. */
const REPLACED = ['id_token_hint', 'claims_id_token_sub_value', 'essential_acr', 'essential_acrs'];

/** Which prompts a request needs, and why: the library's policy with what it leaves open settled. */
export function demandedLogin(subjects: Subjects): ReturnType<typeof interactionPolicy.base> {
  const policy = interactionPolicy.base();
  const { checks } = policy.get('login')!;
  for (const reason of REPLACED) checks.remove(reason);
  checks.add(new Check('other_account', 'another account is wanted', 'login_required', needsOtherAccount(subjects)));
  checks.add(new Check('acr_values', 'a stronger login is wanted', 'login_required', needsOtherContext));
  return policy;
}

/** Who has just logged in and is still somebody else won't become another person by logging in again (Core, 3.1.2.2). */
function needsOtherAccount(subjects: Subjects) {
  return ({ oidc }: KoaContextWithOIDC): boolean => {
    const wanted = wantedSubjects(oidc.params ?? {});
    if (wanted.length === 0) return false;
    const accountId = oidc.session?.accountId;
    const sub = accountId === undefined ? undefined : subjects(accountId, recordOf(oidc.client!));
    if (wanted.every((one) => one === sub)) return false;
    if (oidc.result?.login) throw new errors.LoginRequired('the person who logged in is another one');
    return true;
  };
}

/** Whose ID token came as a hint (its signature was checked when the request came), and who was named outright. */
function wantedSubjects({ id_token_hint, claims }: Readonly<Record<string, unknown>>): unknown[] {
  return [
    ...(typeof id_token_hint === 'string' ? [decodeJwt(id_token_hint).sub] : []),
    ...[idTokenClaims(claims)?.['sub']?.value].filter((value) => value !== undefined),
  ];
}

/** What was asked for of the ID token one by one; looked at already when the request came (claims.ts). */
function idTokenClaims(claims: unknown): Readonly<Record<string, { value?: unknown } | null>> | undefined {
  if (typeof claims !== 'string') return undefined;
  return (JSON.parse(claims) as { id_token?: Record<string, { value?: unknown } | null> }).id_token;
}

interface WantedContexts {
  readonly values: readonly string[];
  readonly essential: boolean;
}

function needsOtherContext(ctx: KoaContextWithOIDC): boolean {
  const { values, essential } = wantedContexts(ctx);
  const { acr } = ctx.oidc;
  if (values.length === 0 || (acr !== undefined && values.includes(acr))) return false;
  const outOfReach = ctx.oidc.result?.login !== undefined || !values.some((value) => ACR_VALUES.includes(value));
  if (!outOfReach) return true;
  if (essential)
    throw new errors.UnmetAuthenticationRequirements('none of the requested authentication contexts can be reached');
  // a wish that can't be met is no reason to refuse; the token says what was reached (OpenID Connect Core, 5.5.1.1)
  return false;
}

const AcrRequest = z.object({
  essential: z.boolean().default(false),
  value: z.unknown().optional(),
  values: z.array(z.unknown()).optional(),
});

/** An essential claim outweighs `acr_values`: whoever sends both must not get the weaker of the two. */
function wantedContexts({ oidc }: KoaContextWithOIDC): WantedContexts {
  const { claims, acr_values } = oidc.params ?? {};
  const asked = AcrRequest.safeParse(idTokenClaims(claims)?.['acr']).data;
  const values = (asked?.values ?? [asked?.value]).filter((value) => typeof value === 'string');
  if (asked && values.length > 0) return { values, essential: asked.essential };
  const wished = typeof acr_values === 'string' ? acr_values.split(' ').filter(Boolean) : [];
  return { values: wished, essential: false };
}
