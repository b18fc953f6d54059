/** The consent step: the person sees which application requests what, and allows exactly that. */
import type { Context } from 'koa';
import type { Grant as OidcGrant } from 'oidc-provider';
import { z } from 'zod';
import { findAccount } from '../accounts/account.ts';
import { claimOfEntry, isAboutPerson, isForUserinfo } from '../accounts/data_for_apis.ts';
import { mergeScopes, rememberConsent, type ConsentedScopes } from '../accounts/consents.ts';
import { invalid } from '../base/refusal.ts';
import { readForm } from '../http/form_body.ts';
import { refuseRequest, resumeWith, stepPath, type Step } from './interaction.ts';
import type { Detail } from './pages.ts';
import { describePermissions } from './permissions.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { describeAccess, describeDestination } from './messages.ts';
import { ANOTHER_ACCOUNT, showLogin } from './login_step.ts';
import { TEXTS } from './texts/texts.ts';

/** Set if a device waits for the decision. */
const DevicePrompt = z.object({ user_code: z.string() });

const ConsentForm = z.object({ decision: z.enum(['allow', 'deny']), remember: z.literal('on').optional() });

/**
 * What oidc-provider found missing from the grant. It is fixed when the interaction begins, so the page and the
 * decision agree.
 */
const Missing = z.object({
  missingOIDCScope: z.array(z.string()).default([]),
  missingOIDCClaims: z.array(z.string()).default([]),
  missingResourceScopes: z.record(z.string(), z.array(z.string())).default({}),
  missingApiClaims: z.record(z.string(), z.array(z.string())).default({}),
});

export async function showConsent(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  if (ctx.query.account === ANOTHER_ACCOUNT) return showLogin(login, ctx, step);
  const { interaction, application } = step;
  const account = await findAccount(login.database, accountOf(step));
  const before = await allowedBefore(login, step);
  login.views.show(ctx, 200, {
    page: 'consent',
    application,
    action: stepPath(login, interaction.uid, 'consent'),
    email: account?.email ?? '',
    name: account?.name ?? null,
    otherAccountLink: `${stepPath(login, interaction.uid)}?account=${ANOTHER_ACCOUNT}`,
    userCode: DevicePrompt.safeParse(interaction.prompt.details).data?.user_code,
    destination: interaction.deviceCode ? undefined : describeDestination(interaction.params.redirect_uri),
    asked: describePermissions(login, askedFor(step), account),
    allowedBefore: describePermissions(login, before, account),
    details: detailsOf(login, step),
    access: await accessOf(login, step, mergeScopes(askedFor(step), before)),
    offersToRemember: offersToRemember(step),
  });
}

/**
 * Whether a remembered decision would be used: each device is a request of its own, an unverified application asks every
 * time, and so does each authorization detail.
 */
function offersToRemember({ interaction, application }: Step): boolean {
  if (interaction.deviceCode !== undefined || application.asksAlways) return false;
  const { openid, claims, resources } = askedFor({ interaction });
  return (
    interaction.params.authorization_details === undefined || [openid, claims, Object.keys(resources)].flat().length > 0
  );
}

async function accessOf(login: LoginContext, step: Step, scopes: ConsentedScopes): Promise<string | undefined> {
  const { resource } = step.interaction.params;
  const resources = [...Object.keys(scopes.resources), ...[resource].flat().filter((one) => typeof one === 'string')];
  const lifetime = await login.accessLifetimeOf(clientOf(step), { openid: scopes.openid, resources });
  return lifetime && describeAccess(lifetime);
}

export async function decideConsent(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const form = ConsentForm.safeParse(await readForm(ctx));
  if (!form.success) throw invalid('/decision', TEXTS.consent.undecided);
  const { decision, remember } = form.data;
  // an application that asks every time is remembered too, so that the person finds it on the account page and can
  // withdraw access
  if (decision === 'allow') {
    const isWanted = remember === 'on' && offersToRemember(step);
    return allow(login, ctx, step, isWanted || step.application.asksAlways === true);
  }

  const accountId = accountOf(step);
  const clientId = clientOf(step);
  const event = { event: 'consent.denied', outcome: 'refused', accountId, clientId } as const;
  await refuseRequest(login, ctx, originOfLogin(ctx, accountId), event);
}

/** Commits the grant, the consent and the audit event in one transaction. */
function allow(login: LoginContext, ctx: Context, step: Step, remembered: boolean): Promise<void> {
  const accountId = accountOf(step);
  const clientId = clientOf(step);
  const asked = askedFor(step);
  const types = detailsOf(login, step).map(({ type }) => type);
  const details = {
    scopes: namesOf(asked),
    ...(types.length > 0 && { authorization_details_types: [...new Set(types)] }),
    remembered,
  };
  return resumeWith(login, ctx, originOfLogin(ctx, accountId), async (changes) => {
    const grantId = await extendGrant(login, step, asked);
    if (remembered) changes.add((work) => rememberConsent(work, { accountId, clientId }, asked));
    changes.record({ event: 'consent.given', outcome: 'success', accountId, clientId, details });
    return { consent: { grantId } };
  });
}

/** Adds the allowed scopes to the application's grant, or creates one. */
async function extendGrant(login: LoginContext, step: Step, asked: ConsentedScopes): Promise<string> {
  const { Grant } = login.provider();
  const grant = (await findGrant(login, step)) ?? new Grant({ accountId: accountOf(step), clientId: clientOf(step) });
  addScopes(grant, asked);
  return grant.save();
}

export function addScopes(grant: OidcGrant, { openid, claims, resources }: ConsentedScopes): void {
  if (openid.length > 0) grant.addOIDCScope([...openid]);
  if (claims.length > 0) grant.addOIDCClaims([...claims]);
  for (const [resource, scopes] of Object.entries(resources)) grant.addResourceScope(resource, [...scopes]);
}

/**
 * Returns the requested scopes that the grant already has. The page shows them, because nothing else is missing with
 * `prompt=consent` or for native applications.
 */
async function allowedBefore(login: LoginContext, step: Step): Promise<ConsentedScopes> {
  const grant = await findGrant(login, step);
  const { scope, resource: named } = step.interaction.params;
  const requested = new Set(typeof scope === 'string' ? scope.split(' ') : []);
  const filter = (granted: string): string[] => granted.split(' ').filter((name) => requested.has(name));
  const withUserinfo = isForUserinfo([named].flat(), login.issuer);
  const ofResource = (resource: string, granted: string): string[] => {
    const canRead = withUserinfo && [named].flat().includes(resource);
    const claims = canRead ? granted.split(' ').filter((name) => claimOfEntry(name) !== undefined) : [];
    return [...filter(granted).filter((name) => canRead || !isAboutPerson(name)), ...claims];
  };
  const resources = Object.entries(grant?.resources ?? {}).map(
    ([resource, granted]) => [resource, ofResource(resource, granted)] as const,
  );
  return {
    openid: filter(grant?.openid?.scope ?? ''),
    claims: grant?.openid?.claims ?? [],
    resources: Object.fromEntries(resources.filter(([, scopes]) => scopes.length > 0)),
  };
}

async function findGrant(login: LoginContext, step: Step) {
  const { grantId } = step.interaction;
  const grant = grantId === undefined ? undefined : await login.provider().Grant.find(grantId);
  return grant?.accountId === accountOf(step) && grant.clientId === clientOf(step) ? grant : undefined;
}

function askedFor({ interaction }: Pick<Step, 'interaction'>): ConsentedScopes {
  const missing = Missing.parse(interaction.prompt.details);
  return mergeScopes(
    { openid: missing.missingOIDCScope, claims: missing.missingOIDCClaims, resources: missing.missingResourceScopes },
    { openid: [], claims: [], resources: missing.missingApiClaims },
  );
}

/**
 * Describes the requested authorization details. They are fixed when the interaction begins, so the page shows what
 * will be granted.
 */
function detailsOf(login: LoginContext, { interaction }: Step): readonly Detail[] {
  const { authorization_details: details, resource } = interaction.params;
  const resources = [resource].flat().filter((one) => typeof one === 'string');
  return typeof details === 'string' ? login.describeDetails(details, resources) : [];
}

function namesOf({ openid, claims, resources }: ConsentedScopes): string[] {
  const ofResources = Object.values(resources).flat();
  return [...new Set([...openid, ...claims, ...ofResources.map((name) => claimOfEntry(name) ?? name)])];
}

function accountOf({ interaction }: Step): string {
  if (!interaction.session) throw new Error('The consent step needs a logged-in person.');
  return interaction.session.accountId;
}

function clientOf({ clientId }: Step): string {
  if (clientId === undefined) throw new Error('The consent step needs a client.');
  return clientId;
}
