/** Consent: the person sees who asks for what, and what they allow is exactly what they saw. */
import type { Context } from 'koa';
import type { Grant as OidcGrant } from 'oidc-provider';
import { z } from 'zod';
import { findAccount } from '../accounts/account.ts';
import { mergeScopes, rememberConsent, type ConsentedScopes } from '../accounts/consents.ts';
import { invalid } from '../base/refusal.ts';
import { readForm } from '../http/form_body.ts';
import { refuseRequest, resumeWith, stepPath, type Step } from './interaction.ts';
import type { Detail } from './pages.ts';
import { describePermissions } from './permissions.ts';
import { originOf, type LoginContext } from './dependencies.ts';
import { describeAccess, describeDestination } from './messages.ts';

const ConsentForm = z.object({ decision: z.enum(['allow', 'deny']), remember: z.literal('on').optional() });

/** What oidc-provider found missing from the grant; fixed when the interaction began, so page and decision agree. */
const Missing = z.object({
  missingOIDCScope: z.array(z.string()).default([]),
  missingOIDCClaims: z.array(z.string()).default([]),
  missingResourceScopes: z.record(z.string(), z.array(z.string())).default({}),
});

export async function showConsent(room: LoginContext, ctx: Context, step: Step): Promise<void> {
  const { interaction, application } = step;
  const account = await findAccount(room.database, accountOf(step));
  const before = await allowedBefore(room, step);
  room.views.show(ctx, 200, {
    page: 'consent',
    application,
    action: stepPath(room, interaction.uid, 'consent'),
    email: account?.email ?? '',
    destination: interaction.deviceCode ? undefined : describeDestination(interaction.params.redirect_uri),
    asked: describePermissions(room, askedFor(step)),
    allowedBefore: describePermissions(room, before),
    details: detailsOf(room, step),
    access: await accessOf(room, step, mergeScopes(askedFor(step), before)),
  });
}

async function accessOf(room: LoginContext, step: Step, scopes: ConsentedScopes): Promise<string | undefined> {
  const { resource } = step.interaction.params;
  const resources = [...Object.keys(scopes.resources), ...[resource].flat().filter((one) => typeof one === 'string')];
  const lifetime = await room.accessLifetimeOf(clientOf(step), { openid: scopes.openid, resources });
  return lifetime && describeAccess(lifetime);
}

export async function decideConsent(room: LoginContext, ctx: Context, step: Step): Promise<void> {
  const form = ConsentForm.safeParse(await readForm(ctx));
  if (!form.success) throw invalid('/decision', 'Choose Allow or Deny.');
  const { decision, remember } = form.data;
  // whoever is asked each time finds it on the account page all the same, to take it back
  if (decision === 'allow') return allow(room, ctx, step, remember === 'on' || step.application.asksAlways === true);

  const accountId = accountOf(step);
  const clientId = clientOf(step);
  const event = { event: 'consent.denied', outcome: 'refused', accountId, clientId } as const;
  await refuseRequest(room, ctx, originOf(ctx, accountId), event);
}

/** The grant, the consent and the record of it are on disk together, or none of them is. */
function allow(room: LoginContext, ctx: Context, step: Step, remembered: boolean): Promise<void> {
  const accountId = accountOf(step);
  const clientId = clientOf(step);
  const asked = askedFor(step);
  const types = detailsOf(room, step).map(({ type }) => type);
  const details = {
    scopes: namesOf(asked),
    ...(types.length > 0 && { authorization_details_types: [...new Set(types)] }),
    remembered,
  };
  return resumeWith(room, ctx, originOf(ctx, accountId), async (changes) => {
    const grantId = await extendGrant(room, step, asked);
    if (remembered) changes.add((change) => rememberConsent(change, accountId, clientId, asked));
    changes.record({ event: 'consent.given', outcome: 'success', accountId, clientId, details });
    return { consent: { grantId } };
  });
}

/** Adds what was allowed to the grant that the application has, or begins one. */
async function extendGrant(room: LoginContext, step: Step, asked: ConsentedScopes): Promise<string> {
  const { Grant } = room.provider();
  const grant = (await findGrant(room, step)) ?? new Grant({ accountId: accountOf(step), clientId: clientOf(step) });
  addScopes(grant, asked);
  return grant.save();
}

export function addScopes(grant: OidcGrant, { openid, claims, resources }: ConsentedScopes): void {
  if (openid.length > 0) grant.addOIDCScope([...openid]);
  if (claims.length > 0) grant.addOIDCClaims([...claims]);
  for (const [resource, scopes] of Object.entries(resources)) grant.addResourceScope(resource, [...scopes]);
}

/** Where nothing is missing (`prompt=consent`, native applications) the page says what will be used again. */
async function allowedBefore(room: LoginContext, step: Step): Promise<ConsentedScopes> {
  const grant = await findGrant(room, step);
  const { scope } = step.interaction.params;
  const requested = new Set(typeof scope === 'string' ? scope.split(' ') : []);
  const filter = (granted: string): string[] => granted.split(' ').filter((name) => requested.has(name));
  const resources = Object.entries(grant?.resources ?? {}).map(
    ([resource, granted]) => [resource, filter(granted)] as const,
  );
  return {
    openid: filter(grant?.openid?.scope ?? ''),
    claims: grant?.openid?.claims ?? [],
    resources: Object.fromEntries(resources.filter(([, scopes]) => scopes.length > 0)),
  };
}

async function findGrant(room: LoginContext, step: Step) {
  const { grantId } = step.interaction;
  const grant = grantId === undefined ? undefined : await room.provider().Grant.find(grantId);
  return grant?.accountId === accountOf(step) && grant.clientId === clientOf(step) ? grant : undefined;
}

function askedFor({ interaction }: Step): ConsentedScopes {
  const missing = Missing.parse(interaction.prompt.details);
  return {
    openid: missing.missingOIDCScope,
    claims: missing.missingOIDCClaims,
    resources: missing.missingResourceScopes,
  };
}

/** Fixed when the interaction began, like all of the request: what is shown is what will be granted. */
function detailsOf(room: LoginContext, { interaction }: Step): readonly Detail[] {
  const { authorization_details: details, resource } = interaction.params;
  const resources = [resource].flat().filter((one) => typeof one === 'string');
  return typeof details === 'string' ? room.describeDetails(details, resources) : [];
}

function namesOf({ openid, claims, resources }: ConsentedScopes): string[] {
  return [...openid, ...claims, ...Object.values(resources).flat()];
}

function accountOf({ interaction }: Step): string {
  if (!interaction.session) throw new Error('Consent is asked of people who are logged in.');
  return interaction.session.accountId;
}

function clientOf({ clientId }: Step): string {
  if (clientId === undefined) throw new Error('Consent is asked for a client.');
  return clientId;
}
