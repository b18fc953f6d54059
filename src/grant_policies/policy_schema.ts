/**
 * Grant policies as admins write them: the members of each kind, their validation as a whole, and the conversion to and
 * from policy terms.
 */
import { z } from 'zod';
import { canonicalDomain } from '../base/email_address.ts';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';
import { isExternal, MODES, SUBJECT_ACCOUNTS, type PolicyTerms } from './policy.ts';

const name = (what: string) =>
  z.string().min(1, 'must not be empty').max(512, 'is too long').refine(isVisible, INVISIBLE_REFUSED).describe(what);

const scope = z.string().min(1, 'must not be empty').max(128, 'must not be longer than 128 characters');

const list = <T extends z.ZodType>(item: T, most: number) =>
  z
    .array(item)
    .min(1, 'must not be empty')
    .max(most, `must not have more than ${most} items`)
    .refine((all) => new Set(all.map((one) => JSON.stringify(one))).size === all.length, 'must not name one twice');

/** Stored in A-labels, as the addresses are that it is compared with. ASCII is only taken in lower case. */
const domain = z
  .string()
  .overwrite((text) => (/[A-Z]/.test(text) ? text : canonicalDomain(text)))
  .max(253, 'must not be longer than 253 characters')
  .regex(/^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$/, 'must be a domain name in lower case');

const subjectAccount = z
  .enum(SUBJECT_ACCOUNTS, `must be one of ${SUBJECT_ACCOUNTS.join(', ')}`)
  .describe(
    'How subjects of the issuer map to accounts: to no account, to the account with the verified email address, or to the linked account.',
  );

const common = {
  client_id: name('The client that may use this policy.'),
  resource: name('The resource that the token is issued for.'),
  max_ttl_seconds: z
    .int('must be a whole number of seconds')
    .min(10, 'must be at least 10 seconds')
    .max(86_400, 'must be at most a day (86400)')
    .default(300)
    .describe('Maximum lifetime of the token; it also ends when the subject token does.'),
};
const outside = {
  email_domains: list(domain, 50)
    .optional()
    .describe('For verified_email: the email domains that the issuer is trusted for.'),
  subjects: list(
    z.string().min(1, 'must not be empty').max(255, 'is too long').refine(isVisible, INVISIBLE_REFUSED),
    200,
  )
    .optional()
    .describe('Only these subjects of the issuer. Default: all subjects.'),
};

export const ExchangePolicyShape = z.strictObject({
  ...common,
  subject_resource: name('Accepts access tokens of this server for this resource.').optional(),
  subject_issuer: name('Accepts assertions of this trusted issuer.').optional(),
  subject_account: subjectAccount.optional(),
  ...outside,
  scopes: list(z.strictObject({ scope, from: scope.optional() }), 200).describe(
    'Scopes that the token may have. With subject_resource, each scope requires a scope of the subject token: from, or the scope with the same name.',
  ),
  mode: z
    .enum(MODES, `must be one of ${MODES.join(', ')}`)
    .describe('delegation: the token names the actor (act claim); impersonation: it does not.'),
});

export const AssertionPolicyShape = z.strictObject({
  ...common,
  issuer: name('The trusted issuer whose assertions are accepted.'),
  subject_account: subjectAccount,
  ...outside,
  scopes: list(scope, 200).describe('Scopes that the token may have.'),
});

/** These members identify a policy and can't be changed; create another policy instead. */
const IDENTITY = { client_id: true, resource: true } as const;
export const ExchangePolicyChangeShape = ExchangePolicyShape.omit({
  ...IDENTITY,
  subject_resource: true,
  subject_issuer: true,
});
export const AssertionPolicyChangeShape = AssertionPolicyShape.omit({ ...IDENTITY, issuer: true });

export const NewExchangePolicy = ExchangePolicyShape.superRefine((given, context) => {
  const report = reporter(context);
  const ofIssuer = given.subject_issuer !== undefined;
  if (ofIssuer === (given.subject_resource !== undefined)) {
    report('subject_issuer', 'or subject_resource must be given, but not both');
  } else if (ofIssuer) {
    if (given.subject_account === undefined) report('subject_account', 'is required with subject_issuer');
    if (given.scopes.some(({ from }) => from !== undefined)) {
      report('scopes', 'must not have from with subject_issuer: an assertion has no scopes of this server');
    }
    checkDomains(given, report);
  } else {
    for (const member of ['subject_account', 'email_domains', 'subjects'] as const) {
      if (given[member] !== undefined) report(member, 'requires subject_issuer');
    }
  }
}).transform((given): PolicyTerms => ({
  grant: 'token_exchange',
  clientId: given.client_id,
  subject:
    given.subject_issuer === undefined
      ? { resource: given.subject_resource! }
      : {
          issuer: given.subject_issuer,
          account: given.subject_account!,
          emailDomains: given.email_domains ?? [],
          subjects: given.subjects,
        },
  resource: given.resource,
  scopes: given.scopes.map((one) => ({
    scope: one.scope,
    from: given.subject_issuer === undefined ? (one.from ?? one.scope) : undefined,
  })),
  mode: given.mode,
  maxTtlSeconds: given.max_ttl_seconds,
}));

export const NewAssertionPolicy = AssertionPolicyShape.superRefine((given, context) =>
  checkDomains(given, reporter(context)),
).transform((given): PolicyTerms => ({
  grant: 'jwt_bearer',
  clientId: given.client_id,
  subject: {
    issuer: given.issuer,
    account: given.subject_account,
    emailDomains: given.email_domains ?? [],
    subjects: given.subjects,
  },
  resource: given.resource,
  scopes: given.scopes.map((one) => ({ scope: one, from: undefined })),
  mode: null,
  maxTtlSeconds: given.max_ttl_seconds,
}));

/** Converts the terms of a token exchange policy to the members that admins write. */
export function exchangePolicyMembers(terms: PolicyTerms): z.output<typeof ExchangePolicyShape> {
  const { clientId, subject, resource, scopes, mode, maxTtlSeconds } = terms;
  return {
    client_id: clientId,
    ...(isExternal(subject) ? { subject_issuer: subject.issuer } : { subject_resource: subject.resource }),
    ...outsideMembers(terms),
    resource,
    scopes: scopes.map(({ scope: given, from }) => ({ scope: given, ...(from !== undefined && { from }) })),
    mode: mode!,
    max_ttl_seconds: maxTtlSeconds,
  };
}

/** Converts the terms of a JWT bearer policy to the members that admins write. */
export function assertionPolicyMembers(terms: PolicyTerms): z.output<typeof AssertionPolicyShape> {
  const { clientId, subject, resource, scopes, maxTtlSeconds } = terms;
  if (!isExternal(subject)) throw new Error('A policy for assertions must have an issuer.');
  return {
    client_id: clientId,
    issuer: subject.issuer,
    subject_account: subject.account,
    ...outsideMembers(terms),
    resource,
    scopes: scopes.map((one) => one.scope),
    max_ttl_seconds: maxTtlSeconds,
  };
}

function outsideMembers({ subject }: PolicyTerms) {
  if (!isExternal(subject)) return {};
  return {
    subject_account: subject.account,
    ...(subject.emailDomains.length > 0 && { email_domains: [...subject.emailDomains] }),
    ...(subject.subjects && { subjects: [...subject.subjects] }),
  };
}

type Report = (member: string, message: string) => void;

function reporter(context: z.RefinementCtx): Report {
  return (member, message) => context.addIssue({ code: 'custom', path: [member], message });
}

/** An issuer's e-mail addresses are accepted only for the domains that an admin has named. */
function checkDomains(
  { subject_account, email_domains }: { subject_account?: string | undefined; email_domains?: string[] | undefined },
  report: Report,
): void {
  if ((subject_account === 'verified_email') === (email_domains !== undefined)) return;
  report(
    'email_domains',
    email_domains ? 'requires subject_account verified_email' : 'is required with subject_account verified_email',
  );
}
