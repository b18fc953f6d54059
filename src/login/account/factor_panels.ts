/** The panels of the factors on the page /account/security. Each leads to the page on which the person changes it. */
import { hasSecondFactor } from '../../factors/account_factors.ts';
import { listRememberedDevices } from '../../factors/remembered_devices.ts';
import type { LoginContext } from '../login_context.ts';
import { describeAge, describeCount, describeDay } from '../messages.ts';
import { fill, TEXTS } from '../texts/texts.ts';
import type { SecurityPanel } from './security_panel.ts';

export function factorPanels(login: LoginContext): readonly SecurityPanel[] {
  return [
    ...(login.factors.passkeys ? [passkeysPanel(login)] : []),
    authenticatorPanel(login),
    recoveryCodesPanel(login),
    rememberedDevicesPanel(login),
  ];
}

function passkeysPanel({ views }: LoginContext): SecurityPanel {
  return {
    template: 'panel_passkeys',
    describe: async ({ factors: { passkeys }, now }) => ({
      data: {
        link: views.path('/account/passkeys'),
        passkeys: passkeys.map(({ name, createdAt, lastUsedAt, backedUp }) => ({
          name,
          icon: backedUp ? 'smartphone' : 'fingerprint',
          summary: describeUse(createdAt, lastUsedAt, now, backedUp),
        })),
      },
    }),
  };
}

function authenticatorPanel({ views }: LoginContext): SecurityPanel {
  return {
    template: 'panel_authenticator',
    describe: async ({ factors: { totp }, now }) => ({
      data: {
        link: views.path('/account/authenticator'),
        summary: totp && describeUse(totp.createdAt, totp.lastUsedAt, now),
      },
    }),
  };
}

/** Codes of an admin do not count: they are for one login. */
function recoveryCodesPanel({ views }: LoginContext): SecurityPanel {
  const { saveCodes, makeCodes, codesLeft } = TEXTS.account.security;
  const link = views.path('/account/recovery-codes');
  return {
    template: 'panel_recovery_codes',
    describe: async ({ factors }) => {
      const { own } = factors.recoveryCodes;
      const isAdvised = own === 0 && hasSecondFactor(factors);
      return {
        data: { link, left: own > 0 ? describeCount(codesLeft, own) : undefined },
        advice: isAdvised ? { sentence: saveCodes, link: { text: makeCodes, href: link } } : undefined,
      };
    },
  };
}

function rememberedDevicesPanel({ views, database }: LoginContext): SecurityPanel {
  return {
    template: 'panel_remembered_devices',
    describe: async ({ account, now }) => {
      const { length } = await listRememberedDevices(database, account.accountId, now);
      if (length === 0) return undefined;
      const summary = describeCount(TEXTS.account.security.rememberedDevices, length);
      return { data: { link: views.path('/account/remembered-devices'), summary } };
    },
  };
}

function describeUse(addedAt: Date, usedAt: Date | null, now: Date, backedUp = false): string {
  const texts = TEXTS.account.security;
  return [
    fill(texts.added, { time: describeDay(addedAt).words }),
    ...(usedAt ? [fill(texts.used, { age: describeAge(usedAt, now).words })] : []),
    ...(backedUp ? [texts.backedUp] : []),
  ].join(' · ');
}
