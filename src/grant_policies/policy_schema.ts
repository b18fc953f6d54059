/** Policies as admins write them: the members of each kind, checked as a whole, and the terms that they stand for. */
import { z } from 'zod';
import { isOutside, MODES, SUBJECT_ACCOUNTS, type PolicyTerms } from './policy.ts';

const VISIBLE = /^[^\p{Cc}\p{Cf}\p{Cs}]*$/u;
const INVISIBLE = 'must not contain control or invisible characters';

const name = (what: string) =>
  z.string().min(1, 'must not be empty').max(512, 'is too long').regex(VISIBLE, INVISIBLE).describe(what);

const scope = z.string().min(1, 'must not be empty').max(128, 'must not be longer than 128 characters');

const list = <T extends z.ZodType>(item: T, most: number) =>
  z
    .array(item)
    .min(1, 'must not be empty')
    .max(most, `must not have more than ${most} items`)
    .refine((all) => new Set(all.map((one) => JSON.stringify(one))).size === all.length, 'must not name one twice');

const domain = z
  .string()
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
  subjects: list(z.string().min(1, 'must not be empty').max(255, 'is too long').regex(VISIBLE, INVISIBLE), 200)
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

/** What makes a policy that very one is not changed; make another one. */
const IDENTITY = { client_id: true, resource: true } as const;
export const ExchangePolicyChangeShape = ExchangePolicyShape.omit({
  ...IDENTITY,
  subject_resource: true,
  subject_issuer: true,
});
export const AssertionPolicyChangeShape = AssertionPolicyShape.omit({ ...IDENTITY, issuer: true });

export const NewExchangePolicy = ExchangePolicyShape.superRefine((given, context) => {
  const object = objecting(context);
  const ofIssuer = given.subject_issuer !== undefined;
  if (ofIssuer === (given.subject_resource !== undefined)) {
    object('subject_issuer', 'must be given, or else subject_resource, and not both');
  } else if (ofIssuer) {
    if (given.subject_account === undefined) object('subject_account', 'is required with subject_issuer');
    if (given.scopes.some(({ from }) => from !== undefined)) {
      object('scopes', 'must have no from with subject_issuer: an assertion has no scopes of ours');
    }
    checkDomains(given, object);
  } else {
    for (const member of ['subject_account', 'email_domains', 'subjects'] as const) {
      if (given[member] !== undefined) object(member, 'is for subject_issuer');
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
  checkDomains(given, objecting(context)),
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

export function exchangePolicyMembers(terms: PolicyTerms): z.output<typeof ExchangePolicyShape> {
  const { clientId, subject, resource, scopes, mode, maxTtlSeconds } = terms;
  return {
    client_id: clientId,
    ...(isOutside(subject) ? { subject_issuer: subject.issuer } : { subject_resource: subject.resource }),
    ...outsideMembers(terms),
    resource,
    scopes: scopes.map(({ scope: given, from }) => ({ scope: given, ...(from !== undefined && { from }) })),
    mode: mode!,
    max_ttl_seconds: maxTtlSeconds,
  };
}

export function assertionPolicyMembers(terms: PolicyTerms): z.output<typeof AssertionPolicyShape> {
  const { clientId, subject, resource, scopes, maxTtlSeconds } = terms;
  if (!isOutside(subject)) throw new Error('An assertion policy has an issuer.');
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
  if (!isOutside(subject)) return {};
  return {
    subject_account: subject.account,
    ...(subject.emailDomains.length > 0 && { email_domains: [...subject.emailDomains] }),
    ...(subject.subjects && { subjects: [...subject.subjects] }),
  };
}

type Objecting = (member: string, message: string) => void;

function objecting(context: z.RefinementCtx): Objecting {
  return (member, message) => context.addIssue({ code: 'custom', path: [member], message });
}

/** An issuer is believed about addresses only where somebody said which ones are its own. */
function checkDomains(
  { subject_account, email_domains }: { subject_account?: string | undefined; email_domains?: string[] | undefined },
  object: Objecting,
): void {
  if ((subject_account === 'verified_email') === (email_domains !== undefined)) return;
  object('email_domains', email_domains ? 'is for verified_email' : 'is required with verified_email');
}
