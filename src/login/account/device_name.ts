/** Names a device after its user agent: the words that its person knows it by. */
import Bowser from 'bowser';
import { fill, TEXTS } from '../texts/texts.ts';

export interface DeviceName {
  /** Such as ‘Firefox on Linux’. */
  readonly device: string;
  /** An icon of views/icons.svg. */
  readonly icon: string;
}

/** A browser sends less; the names are found in the text. */
const USER_AGENT_LIMIT = 400;

const ICONS: Readonly<Record<string, string>> = { mobile: 'smartphone', tablet: 'tablet', tv: 'tv', desktop: 'laptop' };

export function nameDevice(userAgent: string | undefined): DeviceName {
  const { unknown, browserOn } = TEXTS.account.devices;
  if (!userAgent) return { device: unknown, icon: 'monitor' };
  const { browser, os, platform } = Bowser.parse(userAgent.slice(0, USER_AGENT_LIMIT));
  const icon = ICONS[platform.type ?? ''] ?? 'monitor';
  if (browser.name && os.name) return { device: fill(browserOn, { browser: browser.name, system: os.name }), icon };
  return { device: browser.name || os.name || unknown, icon };
}
