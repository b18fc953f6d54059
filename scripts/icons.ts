/** Writes views/icons.svg: the icons of the pages, from lucide-static. Run it after a change of the list below. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const TARGET = join(ROOT, 'views/icons.svg');

const ICONS = [
  'activity',
  'arrow-right',
  'ban',
  'banknote',
  'bell',
  'blocks',
  'book-open',
  'calendar',
  'check',
  'chevron-right',
  'circle-alert',
  'circle-check',
  'circle-user',
  'clock',
  'code',
  'copy',
  'download',
  'external-link',
  'eye',
  'file-text',
  'fingerprint',
  'globe',
  'history',
  'hourglass',
  'id-card',
  'info',
  'key-round',
  'laptop',
  'life-buoy',
  'link',
  'lock',
  'log-in',
  'log-out',
  'mail',
  'map-pin',
  'message-square-text',
  'monitor',
  'pen-line',
  'phone',
  'play',
  'plus',
  'printer',
  'qr-code',
  'refresh-cw',
  'server',
  'shield-check',
  'smartphone',
  'tablet',
  'terminal',
  'trash-2',
  'triangle-alert',
  'tv',
  'unplug',
  'usb',
  'user-round',
  'users',
  'x',
];

/** Returns the sprite with a symbol for each icon; the style sheet sets stroke and size. */
export function iconSprite(): string {
  const symbols = ICONS.map((name) => {
    const source = readFileSync(join(ROOT, `node_modules/lucide-static/icons/${name}.svg`), 'utf8');
    const [, drawing = ''] = /<svg[^>]*>(.*)<\/svg>/s.exec(source) ?? [];
    return `<symbol id="icon-${name}" viewBox="0 0 24 24">${drawing.replaceAll(/\s*\n\s*/g, '')}</symbol>`;
  });
  return `<!-- Icons of Lucide (https://lucide.dev), ISC licence. Made by scripts/icons.ts. -->\n<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join('\n')}\n</svg>\n`;
}

if (import.meta.main) writeFileSync(TARGET, iconSprite());
