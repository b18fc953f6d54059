/**
 * Renders pages from the templates in views/. All templates are compiled at start, so that a broken one is found then.
 * Templates escape every value by default.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { Eta } from 'eta';
import type { Context } from 'koa';
import { readPageAssets, type Asset } from './page_assets.ts';
import { allowScriptFiles, sendPage } from './page_headers.ts';
import { PageIcons } from './page_icons.ts';

const VIEWS = join(import.meta.dirname, '../../views');
const YEAR_SECONDS = 31_536_000;

/** `Page` is the union of all pages; its member `page` names the template. */
export class Views<Page extends { readonly page: string }> {
  readonly #issuer: URL;
  readonly #helpers: object;
  readonly #eta = new Eta({ autoEscape: true, cache: true });
  readonly #assets: ReadonlyMap<string, Asset> = readPageAssets(VIEWS);
  readonly #icons = new PageIcons(join(VIEWS, 'icons.svg'));

  /** All templates get `helpers` besides the data of their page. */
  constructor(issuer: string, helpers: object = {}) {
    this.#issuer = new URL(issuer);
    this.#helpers = helpers;
    for (const file of readdirSync(VIEWS).filter((name) => name.endsWith('.eta'))) {
      this.#eta.loadTemplate(`@${file.slice(0, -'.eta'.length)}`, readFileSync(join(VIEWS, file), 'utf8'));
    }
  }

  render(page: Page, scripts: readonly string[] = []): string {
    const asset = (file: string): string => this.#assetPath(file);
    const ours = { host: this.#issuer.host, accountLink: this.path('/account'), asset, scripts };
    return this.#eta.render(`@${page.page}`, { ...ours, ...this.#helpers, ...this.#icons.forPage(), ...page });
  }

  /** `scripts` are the files of views/ that the page may run, and no others. */
  show(ctx: Context, status: number, page: Page, scripts: readonly string[] = []): void {
    sendPage(ctx, status, this.render(page, scripts));
    if (scripts.length === 0) return;
    const urls = scripts.map((file) => this.#issuer.origin + this.#assetPath(file));
    allowScriptFiles(ctx, urls);
  }

  #assetPath(file: string): string {
    return this.path(`/assets/${this.#assets.get(file)?.fileName ?? file}`);
  }

  /** Returns the path on this host, with the issuer's path before it. */
  path(path: string): string {
    return this.#issuer.pathname.replace(/\/$/, '') + path;
  }

  /** Sends the asset with this name (`<hash>.css`). Returns whether it exists. */
  sendAsset(ctx: Context, fileName: string): boolean {
    const asset = [...this.#assets.values()].find((candidate) => candidate.fileName === fileName);
    if (!asset) return false;
    ctx.set({ 'Cache-Control': `public, max-age=${YEAR_SECONDS}, immutable`, 'X-Content-Type-Options': 'nosniff' });
    ctx.type = extname(asset.fileName);
    ctx.body = asset.body;
    return true;
  }
}
