/**
 * `npm run screenshots [-- folder]`: pictures of every page, light and dark, on a desktop (1100 px) and on phones (360 and
 * 320 px), and what axe objects to.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { globalSetup, globalTeardown } from '../global.ts';
import { assertAccessible, setScene } from '../person/pages.ts';
import { STORIES } from './stories.ts';

const WIDTHS = [
  [1100, 800],
  [360, 740],
  [320, 640],
] as const;
const SCHEMES = ['light', 'dark'] as const;

const [folder = 'screenshots', only = ''] = process.argv.splice(2);

await globalSetup();
await mkdir(folder, { recursive: true });
const scene = await setScene({ host: 'localhost', environment: { NODE_ENV: 'development' } });
const objections: string[] = [];
try {
  for (const [name, tell] of Object.entries(STORIES)) {
    if (!name.includes(only)) continue;
    const page = await scene.visit();
    try {
      await tell(page, scene);
      await picture(page, name);
    } catch (error) {
      objections.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
    await page.context().close();
  }
} finally {
  await scene.stop().catch((error: unknown) => objections.push(String(error)));
  await globalTeardown();
}
for (const objection of objections) console.error(objection);
process.exitCode = objections.length > 0 ? 1 : 0;

async function picture(page: Page, name: string): Promise<void> {
  for (const [width, height] of WIDTHS) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(folder, `${name}.${width}.${colorScheme}.png`), fullPage: true });
    }
    const widest = await page.evaluate<number>('document.documentElement.scrollWidth');
    if (widest > width) objections.push(`${name}: ${widest} px wide on a screen of ${width} px`);
  }
  await assertAccessible(page);
}
