/**
 * Keeps a router that is lenient about paths to the paths as they are documented. oidc-provider also takes `/TOKEN` and
 * `/token/`, which the limits in front of it do not know: such a path is not found.
 */
import type { Middleware } from 'koa';

/** `paths` as they are documented; `otherwise` answers the requests for another spelling of one of them. */
export function exactPaths(paths: readonly string[], otherwise: Middleware): Middleware {
  const exact = new Set(paths);
  const firstSegments = new Set(paths.map(firstSegment));
  return (ctx, next) => {
    const { path } = ctx;
    const folded = path.toLowerCase().replace(/\/$/, '');
    const isOtherSpelling = !exact.has(path) && exact.has(folded);
    const first = firstSegment(path);
    const isOtherCase = !firstSegments.has(first) && firstSegments.has(first.toLowerCase());
    return isOtherSpelling || isOtherCase ? otherwise(ctx, next) : next();
  };
}

function firstSegment(path: string): string {
  return path.split('/', 2)[1] ?? '';
}
