/** What races are about: many requests at the same moment, and what their answers may be together. */
import assert from 'node:assert/strict';
import { postForm, type Gatehouse } from '../node/gatehouse.ts';
import type { RegisteredClient } from '../node/operator.ts';
import type { Pair } from '../node/pair.ts';

/** More than one node has connections to its database. */
export const CROWD = 24;

export interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
}

export function forNotes({ a }: Pair): { resource: string } {
  return { resource: a.demo.resource };
}

export function refresh(node: Gatehouse, client: RegisteredClient, refresh_token: string): Promise<Response> {
  return postForm(`${node.url}/token`, { grant_type: 'refresh_token', refresh_token }, client);
}

export function askForToken(url: string, client: RegisteredClient): Promise<Response> {
  return postForm(`${url}/token`, { grant_type: 'client_credentials' }, client);
}

export async function isActive(node: Gatehouse, asking: RegisteredClient, token: string): Promise<boolean> {
  const answer = await postForm(`${node.url}/introspect`, { token }, asking);
  assert.equal(answer.status, 200);
  return ((await answer.json()) as { active: boolean }).active;
}

/**
 * Returns the answers with tokens, of which there are `atMost`. The others are refusals; a busy node may also answer with
 * 503, which uses up nothing.
 */
export async function winnersOf(answers: readonly Response[], atMost = 1): Promise<Tokens[]> {
  const bodies = await Promise.all(
    answers.map(async (answer) => ({
      status: answer.status,
      body: (await answer.json()) as Tokens & { error?: string },
    })),
  );
  const winners = bodies.filter(({ status }) => status === 200);
  const others = bodies.filter(({ status }) => status !== 200);
  assert.ok(winners.length <= atMost, `${winners.length} answers with tokens`);
  const refusals = new Map([
    [400, 'invalid_grant'],
    [503, 'temporarily_unavailable'],
  ]);
  for (const { status, body } of others) assert.equal(body.error, refusals.get(status) ?? `nothing with ${status}`);
  return winners.map(({ body }) => body);
}

export async function assertDead(pair: Pair, client: RegisteredClient, tokens: Tokens): Promise<void> {
  for (const node of [pair.a, pair.b]) {
    assert.equal(await isActive(node, client, tokens.access_token), false);
    const answer = await refresh(node, client, tokens.refresh_token);
    assert.equal(answer.status, 400);
  }
}

/** How many answers there were of each status. */
export function count(answers: readonly Response[]): Record<string, number> {
  const counted: Record<string, number> = {};
  for (const { status } of answers) counted[status] = (counted[status] ?? 0) + 1;
  return counted;
}
