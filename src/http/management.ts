/** Serves health checks and metrics on a separate port, which must not be public. */
import type { RequestListener } from 'node:http';

/** The result of a readiness probe: all conditions for traffic to this node. */
export interface Readiness {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, string>>;
}

/**
 * Combines the readiness of several processes: ready if all are. Each check shows the worst result, preferring
 * processes that are not ready.
 */
export function combineReadiness(all: readonly Readiness[]): Readiness {
  const checks: Record<string, string> = {};
  for (const one of all.toSorted((a, b) => Number(a.ready) - Number(b.ready))) {
    for (const [name, found] of Object.entries(one.checks)) {
      if ((checks[name] ?? 'ok') === 'ok') checks[name] = found;
    }
  }
  return { ready: all.length > 0 && all.every(({ ready }) => ready), checks };
}

export interface ManagementSettings {
  readonly readiness: () => Promise<Readiness>;
  readonly metrics: { readonly contentType: string; text(): Promise<string> };
}

export function management({ readiness, metrics }: ManagementSettings): RequestListener {
  return (request, response) => {
    void answer(request.method ?? '', request.url?.split('?')[0] ?? '').then(
      ({ status, type, body }) =>
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body),
      () => response.writeHead(500).end(),
    );
  };

  async function answer(method: string, path: string): Promise<{ status: number; type: string; body: string }> {
    if (method !== 'GET' && method !== 'HEAD') return json(405, { error: 'Use GET.' });
    if (path === '/healthz') return json(200, { status: 'alive' });
    if (path === '/readyz') {
      const { ready, checks } = await readiness();
      return json(ready ? 200 : 503, { status: ready ? 'ready' : 'not ready', checks });
    }
    if (path === '/metrics') return { status: 200, type: metrics.contentType, body: await metrics.text() };
    return json(404, { error: 'Not found. Use /healthz, /readyz or /metrics.' });
  }
}

function json(status: number, body: object) {
  return { status, type: 'application/json; charset=utf-8', body: JSON.stringify(body) };
}
