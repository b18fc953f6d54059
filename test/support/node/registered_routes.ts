/** Records the routes that a node registers while it starts, with its own routers and with that of oidc-provider. */
import Router from '@koa/router';

/** The router of the library, which its types do not declare. */
const LIBRARY_ROUTER: string = 'oidc-provider/lib/helpers/router.js';

export interface RegisteredRoute {
  readonly method: string;
  /** With `{name}` where a parameter stands. */
  readonly path: string;
}

type Register = (...parameters: unknown[]) => unknown;
type RouterPrototype = Record<string, Register>;

/** Records the routes of all nodes of this process, until `stop` is called. */
export async function recordRoutes(): Promise<{ stop(): readonly RegisteredRoute[] }> {
  const routes = new Map<string, RegisteredRoute>();
  const note = (method: string, given: string): void => {
    const path = given.replaceAll(/:(\w+)/g, '{$1}');
    routes.set(`${method} ${path}`, { method, path });
  };
  const undo: (() => void)[] = [];
  const watch = (prototype: RouterPrototype, name: string, see: (router: unknown, given: unknown[]) => void): void => {
    const original = prototype[name]!;
    prototype[name] = function (this: unknown, ...given) {
      see(this, given);
      return original.apply(this, given);
    };
    undo.push(() => (prototype[name] = original));
  };
  watch(Router.prototype as unknown as RouterPrototype, 'register', (router, [path, methods]) => {
    const { prefix = '' } = (router as { readonly opts: { readonly prefix?: string } }).opts;
    // middleware for all paths has no methods
    for (const method of methods as readonly string[]) note(method.toUpperCase(), prefix + String(path));
  });
  const library = (await import(LIBRARY_ROUTER)) as { readonly default: { readonly prototype: RouterPrototype } };
  for (const method of ['get', 'post', 'put', 'delete', 'options']) {
    watch(library.default.prototype, method, (_router, [, path]) => note(method.toUpperCase(), String(path)));
  }
  return {
    stop() {
      for (const restore of undo) restore();
      return [...routes.values()];
    },
  };
}
