/** The browser of the tests: the Chromium that npm brings for linux-x64, or the one that CHROMIUM_PATH names. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import chromium, { inflate } from '@sparticuz/chromium';
import { chromium as playwright, type Browser } from 'playwright-core';

const MODULES = join(import.meta.dirname, '../../../node_modules');
const PACKAGE = join(MODULES, '@sparticuz/chromium');

/**
 * Unpacks the packaged browser, once per version. Global setup alone calls this: test files that did so at the same
 * time would run a half-written program. Without a package for this platform it does nothing; `launchBrowser` says so.
 */
export async function unpackBrowser(): Promise<void> {
  if (process.env.CHROMIUM_PATH || !packageFits()) return;
  const home = await browserHome();
  if (existsSync(home)) return;

  const fresh = await mkdtemp(`${home}-`);
  try {
    await withTemporaryFolder(fresh, async () => {
      await chromium.executablePath();
      await inflate(join(PACKAGE, 'bin/al2023.tar.br')); // libraries that a bare Debian lacks
    });
    await writeFile(join(fresh, 'fonts.conf'), fontsConfiguration(home));
    await rename(fresh, home);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    if (!existsSync(home)) throw error; // else another run of the tests was quicker
  }
}

/**
 * A headless Chromium as the web knows it. The package's own `args` are left out on purpose: they switch web security
 * off, and a test of CORS could not fail.
 */
export async function launchBrowser(): Promise<Browser> {
  const given = process.env.CHROMIUM_PATH;
  if (given) return playwright.launch({ executablePath: given });
  if (!packageFits()) {
    throw new Error(
      `npm brings Chromium for linux-x64 only: set CHROMIUM_PATH to a Chrome or Chromium of this ${process.platform}-${process.arch} machine.`,
    );
  }
  const home = await browserHome();
  return playwright.launch({
    executablePath: join(home, 'chromium'),
    env: {
      ...process.env,
      LD_LIBRARY_PATH: join(home, 'al2023/lib'),
      FONTCONFIG_FILE: join(home, 'fonts.conf'),
    },
  });
}

function packageFits(): boolean {
  return process.platform === 'linux' && process.arch === 'x64';
}

async function browserHome(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(PACKAGE, 'package.json'), 'utf8')) as { version: string };
  return join(MODULES, `.chromium-${version}`);
}

/** The package unpacks to wherever the system's temporary folder is, and takes what it finds there for its own. */
async function withTemporaryFolder(folder: string, work: () => Promise<void>): Promise<void> {
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  try {
    await work();
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
}

/** Without fonts every text is 0 wide, and nothing on a page can be seen or clicked. */
function fontsConfiguration(home: string): string {
  return `<?xml version="1.0"?>
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>${home}/fonts/fonts</dir>
  <cachedir>${home}/fonts-cache</cachedir>
</fontconfig>
`;
}
