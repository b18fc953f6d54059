/** Evaluates a client's grant policies for a request. Pure functions: no I/O and no clock. */
import type { Act } from '../keys/token_verifier.ts';
import { isExternal, type Policy } from './policy.ts';

/** The origin of the subject: an access token of this server for this resource, or an assertion of this issuer. */
export type SubjectSource = { readonly resource: string } | { readonly issuer: string };

export type Choice =
  { readonly policy: Policy } | { readonly refused: 'subject_not_allowed' | 'target_not_allowed' | 'target_ambiguous' };

/** Chooses the policy for this subject and target. Without a target, the subject must have exactly one policy. */
export function choosePolicy(policies: readonly Policy[], source: SubjectSource, target: string | undefined): Choice {
  const fitting = policies.filter(({ subject }) =>
    isExternal(subject)
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
 * The most that the new token's scope may contain. If the subject has a token of this server (`subjectScopes`), each
 * scope must be derived from one of that token's, so that no token is wider than the one that it was made from.
 */
export function permittedScopes({ scopes }: Policy, subjectScopes: ReadonlySet<string> | undefined): Set<string> {
  const permitted = scopes.filter(({ from }) =>
    subjectScopes === undefined ? from === undefined : from !== undefined && subjectScopes.has(from),
  );
  return new Set(permitted.map(({ scope }) => scope));
}

/** Deeper than any real chain of services; each level makes the token longer. */
const DEEPEST_ACT = 5;

/** Adds an actor to the `act` chain (RFC 8693, 4.1); `undefined` if it would become too deep. */
export function actThrough(actor: string, before: Act | undefined): Act | undefined {
  let depth = 1;
  for (let act = before; act; act = act.act) depth++;
  if (depth > DEEPEST_ACT) return undefined;
  return { sub: actor, ...(before && { act: before }) };
}

/**
 * True if the subject's `may_act` claim (RFC 8693, 4.4) permits this actor. Without the claim, the policy alone
 * decides. An unknown member might restrict the claim, so it permits no actor.
 */
export function mayAct(mayActClaim: unknown, actor: { readonly sub: string; readonly iss: string }): boolean {
  if (mayActClaim === undefined) return true;
  if (typeof mayActClaim !== 'object' || mayActClaim === null || Array.isArray(mayActClaim)) return false;
  const { sub, iss = actor.iss, ...others } = mayActClaim as Readonly<Record<string, unknown>>;
  return sub === actor.sub && iss === actor.iss && Object.keys(others).length === 0;
}
