/** Keeps the `error_description` of an answer to the characters that it may have, in the body and in challenges. */
import type { Context } from 'koa';
import { toErrorDescription } from '../base/error_description.ts';

export function limitErrorDescriptions(ctx: Context): void {
  if (ctx.status < 400) return;
  limitBody(ctx);
  limitChallenges(ctx);
}

function limitBody({ body }: Context): void {
  if (typeof body !== 'object' || body === null || !('error_description' in body)) return;
  const { error_description: description } = body;
  if (typeof description === 'string') Object.assign(body, { error_description: toErrorDescription(description) });
}

const DESCRIPTION = /(?<=\berror_description=")(?:[^"\\]|\\.)*(?=")/gs;

function limitChallenges(ctx: Context): void {
  const challenges = [ctx.response.get('WWW-Authenticate') as string | string[]].flat().filter(Boolean);
  const limited = challenges.map((challenge) =>
    challenge.replaceAll(DESCRIPTION, (quoted) => toErrorDescription(quoted.replaceAll(/\\(.)/gs, '$1'))),
  );
  if (limited.some((challenge, at) => challenge !== challenges[at])) ctx.set('WWW-Authenticate', limited);
}
