/** What the policies of a client say about a request. No I/O and no clock: the same question has the same answer. */
import type { Act } from '../keys/token_verifier.ts';
import { isOutside, type Policy } from './policy.ts';

/** Where the subject comes from: a token of ours for this resource, or an assertion of this issuer. */
export type SubjectSource = { readonly resource: string } | { readonly issuer: string };

export type Choice =
  { readonly policy: Policy } | { readonly refused: 'subject_not_allowed' | 'target_not_allowed' | 'target_ambiguous' };

/** The one policy for this subject and target. Without a target it is the only one that can be meant, if there is one. */
export function choosePolicy(policies: readonly Policy[], source: SubjectSource, target: string | undefined): Choice {
  const fitting = policies.filter(({ subject }) =>
    isOutside(subject)
      ? 'issuer' in source && subject.issuer === source.issuer
      : 'resource' in source && subject.resource === source.resource,
  );
  if (fitting.length === 0) return { refused: 'subject_not_allowed' };
  const meant = target === undefined ? fitting : fitting.filter(({ resource }) => resource === target);
  const [policy, ...others] = meant;
  if (!policy) return { refused: 'target_not_allowed' };
  return others.length > 0 ? { refused: 'target_ambiguous' } : { policy };
}

/**
 * The scopes that the new token may carry at most. Where the subject has a token of ours (`subjectScopes`), each must
 * come from a scope of that one: nothing is ever wider than what it was made from.
 */
export function permittedScopes({ scopes }: Policy, subjectScopes: ReadonlySet<string> | undefined): Set<string> {
  const permitted = scopes.filter(({ from }) =>
    subjectScopes === undefined ? from === undefined : from !== undefined && subjectScopes.has(from),
  );
  return new Set(permitted.map(({ scope }) => scope));
}

/** As deep as any real chain of services, and no deeper: each link makes every token after it longer. */
const DEEPEST_ACT = 5;

/** `undefined` where the chain would become too deep. */
export function actThrough(actor: string, before: Act | undefined): Act | undefined {
  let depth = 1;
  for (let act = before; act; act = act.act) depth++;
  if (depth > DEEPEST_ACT) return undefined;
  return { sub: actor, ...(before && { act: before }) };
}

/**
 * Whether the subject's `may_act` (RFC 8693, 4.4) lets this actor act; a token without one leaves it to the policy. A
 * member that we can't compare might narrow it, so it lets nobody.
 */
export function mayAct(mayActClaim: unknown, actor: { readonly sub: string; readonly iss: string }): boolean {
  if (mayActClaim === undefined) return true;
  if (typeof mayActClaim !== 'object' || mayActClaim === null || Array.isArray(mayActClaim)) return false;
  const { sub, iss = actor.iss, ...others } = mayActClaim as Readonly<Record<string, unknown>>;
  return sub === actor.sub && iss === actor.iss && Object.keys(others).length === 0;
}
