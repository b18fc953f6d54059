/**
 * The files that pages load: styles, fonts, the tab's icon and scripts. The name of each is the hash of its content, so browsers
 * may keep them for ever.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';

export interface Asset {
  readonly fileName: string;
  readonly body: Buffer;
}

/** Packages whose style sheet declares a font for each range of letters; a page loads only those that it shows. */
const FONTS = ['@fontsource-variable/inter/index.css', '@fontsource-variable/jetbrains-mono/index.css'];

/** The parts of the style sheet, in their order. */
const STYLES = ['tokens.css', 'base.css', 'card.css', 'lists.css', 'account.css', 'factors.css'];

const SCRIPTS = ['passkeys.js', 'show_password.js'];

/** The font of nearly every text in Latin letters, which pages load before they have read the style sheet. */
const FIRST_FONT = 'inter-latin-wght-normal.woff2';

const FONT_URL = /url\(\.\/files\/([\w-]+\.woff2)\)/g;

/** Reads all assets, by the names that templates use: `pages.css`, `icon.svg`, `first_font`, and the scripts' own. */
export function readPageAssets(folder: string): ReadonlyMap<string, Asset> {
  const fonts = new Map(FONTS.flatMap(fontsOf));
  const faces = FONTS.map((sheet) => readFileSync(require.resolve(sheet), 'utf8'))
    .join('\n')
    .replaceAll(FONT_URL, (_, file: string) => `url(${fonts.get(file)!.fileName})`);
  const styles = [faces, ...STYLES.map((file) => readFileSync(join(folder, 'styles', file), 'utf8'))].join('\n');
  return new Map([
    ['pages.css', assetOf('pages.css', Buffer.from(styles))],
    ...SCRIPTS.map((file) => [file, assetOf(file, readFileSync(join(folder, file)))] as const),
    ['icon.svg', assetOf('icon.svg', readFileSync(join(folder, 'icon.svg')))],
    ['first_font', fonts.get(FIRST_FONT)!],
    ...fonts,
  ]);
}

const require = createRequire(import.meta.url);

function fontsOf(sheet: string): (readonly [file: string, asset: Asset])[] {
  const path = require.resolve(sheet);
  const files = readFileSync(path, 'utf8').matchAll(FONT_URL);
  return [...files].map(([, file = '']) => [file, assetOf(file, readFileSync(join(dirname(path), 'files', file)))]);
}

function assetOf(file: string, body: Buffer): Asset {
  const hash = createHash('sha256').update(body).digest('hex').slice(0, 20);
  return { fileName: hash + extname(file), body };
}
