/** A single-page application on an origin of its own, whose whole code is oidc-client-ts as npm brings it. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import type { Page } from 'playwright-core';

const LIBRARY = join(
  dirname(createRequire(import.meta.url).resolve('oidc-client-ts')),
  '../browser/oidc-client-ts.min.js',
);

export interface SinglePageApplication {
  /** On `localhost`, which is another site than the 127.0.0.1 of a Gatehouse. */
  readonly origin: string;
  readonly callback: string;
  readonly farewell: string;
  stop(): Promise<void>;
}

export async function serveSinglePageApplication(): Promise<SinglePageApplication> {
  const library = await readFile(LIBRARY);
  const server = createServer((request, response) => {
    if (request.url === '/oidc-client-ts.js') {
      response.setHeader('content-type', 'text/javascript').end(library);
    } else {
      const script = '<script src="/oidc-client-ts.js"></script>';
      response.setHeader('content-type', 'text/html').end(`<!doctype html><title>Notes</title>${script}`);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref();
  const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    callback: `${origin}/callback`,
    farewell: `${origin}/bye`,
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** Runs a line of the application's code: `manager` is its UserManager. What it answers is what comes back as JSON. */
export function inApplication<T>(page: Page, settings: object, code: string): Promise<T> {
  return page.evaluate<T>(`(async () => {
    const settings = ${JSON.stringify(settings)};
    if (settings.dpop) settings.dpop.store = new oidc.IndexedDbDPoPStore();
    const manager = new oidc.UserManager(settings);
    const answer = await (${code});
    return answer === undefined ? undefined : JSON.parse(JSON.stringify(answer));
  })()`);
}
