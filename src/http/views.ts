/**
 * Renders pages from the templates in views/. All templates are compiled at start, so that a broken one is found then.
 * Templates escape every value by default. Styles and icons have a hash in their URL, so browsers may cache them
 * permanently.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { Eta } from 'eta';
import type { Context } from 'koa';
import { allowScriptFile, sendPage } from './page_headers.ts';

const VIEWS = join(import.meta.dirname, '../../views');
const YEAR_SECONDS = 31_536_000;

interface Asset {
  readonly fileName: string;
  readonly body: Buffer;
}

/** `Page` is the union of all pages; its member `page` names the template. */
export class Views<Page extends { readonly page: string }> {
  readonly #issuer: URL;
  readonly #eta = new Eta({ autoEscape: true, cache: true });
  readonly #assets: Readonly<Record<string, Asset>>;

  constructor(issuer: string) {
    this.#issuer = new URL(issuer);
    const files = readdirSync(VIEWS);
    for (const file of files.filter((name) => name.endsWith('.eta'))) {
      this.#eta.loadTemplate(`@${file.slice(0, -'.eta'.length)}`, readFileSync(join(VIEWS, file), 'utf8'));
    }
    const assets = files.filter((name) => !name.endsWith('.eta')).map((file) => [file, readAsset(file)] as const);
    this.#assets = Object.fromEntries(assets);
  }

  render(page: Page, scriptFile?: string): string {
    const asset = (file: string): string => this.#assetPath(file);
    return this.#eta.render(`@${page.page}`, { ...page, host: this.#issuer.host, asset, scriptFile });
  }

  /** `script` is a file of views/ that the page may run, and no other. */
  show(ctx: Context, status: number, page: Page, script?: string): void {
    sendPage(ctx, status, this.render(page, script));
    if (script !== undefined) allowScriptFile(ctx, this.#issuer.origin + this.#assetPath(script));
  }

  #assetPath(file: string): string {
    return this.path(`/assets/${this.#assets[file]?.fileName ?? file}`);
  }

  /** Returns the path on this host, with the issuer's path before it. */
  path(path: string): string {
    return this.#issuer.pathname.replace(/\/$/, '') + path;
  }

  /** Sends the asset with this name (`<hash>.css`). Returns whether it exists. */
  sendAsset(ctx: Context, fileName: string): boolean {
    const asset = Object.values(this.#assets).find((candidate) => candidate.fileName === fileName);
    if (!asset) return false;
    ctx.set({ 'Cache-Control': `public, max-age=${YEAR_SECONDS}, immutable`, 'X-Content-Type-Options': 'nosniff' });
    ctx.type = extname(asset.fileName);
    ctx.body = asset.body;
    return true;
  }
}

function readAsset(file: string): Asset {
  const body = readFileSync(join(VIEWS, file));
  const hash = createHash('sha256').update(body).digest('hex').slice(0, 20);
  return { fileName: hash + extname(file), body };
}
