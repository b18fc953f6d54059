/** A person with a browser: what they do on our pages, and what their browser complains about. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { launchBrowser } from './browser.ts';
import { startApplication, type Application } from '../client/application.ts';
import { startGatehouse, type Gatehouse, type GatehouseOptions } from '../node/gatehouse.ts';

/** One Gatehouse, one application and one browser for a file of tests; a fresh profile for each that asks. */
export interface Scene {
  readonly gatehouse: Gatehouse;
  readonly application: Application;
  /** A page in a profile of its own: no cookies, no cache. */
  visit(options?: BrowserContextOptions): Promise<Page>;
  stop(): Promise<void>;
}

export interface SceneOptions extends GatehouseOptions {
  /** What the application registers with, besides what every application of the tests does. */
  readonly application?: Readonly<Record<string, unknown>>;
}

export async function setScene(options: SceneOptions = {}): Promise<Scene> {
  // the browser first: where there is none, nothing is left running that would keep the test from ending
  const browser = await launchBrowser();
  const complaints: string[] = [];
  const gatehouse = await startGatehouse(options);
  const application = await startApplication(gatehouse, options.application);
  return {
    gatehouse,
    application,
    async visit(contextOptions = {}) {
      // what a test looks at must not be half-way from one colour to another
      const context = await browser.newContext({ reducedMotion: 'reduce', ...contextOptions });
      context.setDefaultTimeout(15_000);
      context.on('console', (message) => void (isFault(message.text()) && complaints.push(message.text())));
      return context.newPage();
    },
    async stop() {
      await browser.close();
      await application.stop();
      await gatehouse.stop();
      assert.deepEqual(complaints, [], 'no page may break its own policy');
    },
  };
}

/** That a page refuses to be framed is no fault of the page. */
function isFault(message: string): boolean {
  return /Content.Security.Policy|Permissions-Policy|Refused to/i.test(message) && !message.includes('frame-ancestors');
}

export async function logIn(page: Page, account: { readonly email: string; readonly password: string }): Promise<void> {
  const email = page.getByLabel('E-mail address');
  if (await email.isEditable()) await email.fill(account.email); // else the page knows who it is
  await page.getByLabel('Password').fill(account.password);
  await page.getByRole('button', { name: /^(Log in|Confirm)$/ }).click();
}

/** On a screen of 320 pixels: nothing to scroll sideways, and targets that a finger can hit. */
export async function assertFits(page: Page): Promise<void> {
  assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 320);
  for (const target of await page
    .locator('button, a.button, input:not([type=hidden], [type=checkbox]), .check')
    .all()) {
    assert.ok((await target.boundingBox())!.height >= 44, await target.innerText());
  }
}

/** Finds the button with the Tab key and presses it. */
export async function press(page: Page, button: string): Promise<void> {
  for (let i = 0; i < 20; i++) {
    await page.keyboard.press('Tab');
    if ((await page.evaluate('document.activeElement.innerText')) === button) return page.keyboard.press('Enter');
  }
  assert.fail(`No button ‘${button}’ can be reached by keyboard.`);
}

/** From the application through login and consent, and back: the callback's address. */
export async function signIn(
  page: Page,
  scene: Scene,
  parameters: Readonly<Record<string, string>> = {},
): Promise<string> {
  await page.goto(scene.application.authorizationUrl(parameters));
  return finishSignIn(page, scene);
}

/** Does what the page at hand asks for, login or consent, until the browser is back at the application. */
export async function finishSignIn(page: Page, { gatehouse, application }: Scene): Promise<string> {
  if (await page.getByLabel('Password').isVisible()) await logIn(page, gatehouse.account);
  if (page.url().includes('/interaction/')) await allow(page);
  await page.waitForURL((url) => url.href.startsWith(application.redirectUri));
  return page.url();
}

/** Allows what a consent page asks for, and has it remembered where that is offered. */
async function allow(page: Page): Promise<void> {
  const remember = page.getByLabel('Remember this decision');
  if ((await remember.count()) > 0) await remember.check();
  await page.getByRole('button', { name: 'Allow' }).click();
}

/** What the page says, as one line. */
export async function textOf(page: Page): Promise<string> {
  return (await page.locator('main').innerText()).replaceAll(/\s+/g, ' ');
}

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** axe finds nothing to object to against WCAG 2.2 AA, neither in light nor in dark colours. */
export async function assertAccessible(page: Page): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    // colours that are still changing have no contrast to speak of
    await page.evaluate('Promise.allSettled(document.getAnimations().map((animation) => animation.finished))');
    await page.evaluate(await readFile(axe, 'utf8'));
    const run = `axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] })`;
    const { violations, passes } = await page.evaluate<AxeResult>(run);
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
    assert.deepEqual(found, [], `${page.url()} in ${colorScheme} colours`);
    assert.ok(
      passes.some(({ id }) => id === 'color-contrast'),
      'axe has looked at the colours',
    );
  }
}

interface AxeResult {
  readonly violations: readonly { readonly id: string; readonly nodes: readonly { readonly html: string }[] }[];
  readonly passes: readonly { readonly id: string }[];
}
