/** The part of a person's data that is about their logins: factors, remembered devices, one-time links and mails. */
import { listLinks } from '../../accounts/links.ts';
import { readFactors } from '../../factors/account_factors.ts';
import { listRememberedDevices } from '../../factors/remembered_devices.ts';
import { MAIL } from '../../mail/mailer.ts';
import { listStoredMessages } from '../../outbox/stored_messages.ts';
import type { LoginContext } from '../login_context.ts';

export async function copyOfCredentials({ database }: LoginContext, accountId: string, now: Date): Promise<object> {
  const devices = await listRememberedDevices(database, accountId, now);
  const links = await listLinks(database, accountId, now);
  const mails = await listStoredMessages(database, { kind: MAIL, clientId: accountId });
  return {
    factors: await factorsOf(database, accountId, now),
    remembered_devices: devices.map(({ name, createdAt, lastUsedAt, expiresAt }) => ({
      name,
      created_at: createdAt,
      last_used_at: lastUsedAt,
      expires_at: expiresAt,
    })),
    links: links.map(({ kind, email, sentTo, createdAt, expiresAt }) => ({
      kind,
      email,
      sent_to: sentTo,
      created_at: createdAt,
      expires_at: expiresAt,
    })),
    mails: mails.map(({ createdAt, expiresAt, givenUpAt }) => ({
      created_at: createdAt,
      expires_at: expiresAt,
      given_up_at: givenUpAt,
    })),
  };
}

async function factorsOf(database: LoginContext['database'], accountId: string, now: Date): Promise<object[]> {
  // also passkeys that this server does not offer any more
  const { totp, passkeys, recoveryCodes } = await readFactors(database, accountId, { passkeys: true, now });
  const codesLeft = recoveryCodes.own + recoveryCodes.forEnrolment;
  return [
    ...(totp ? [{ type: 'totp', name: null, created_at: totp.createdAt, last_used_at: totp.lastUsedAt }] : []),
    ...passkeys.map(({ name, createdAt, lastUsedAt, backedUp, aaguid }) => ({
      type: 'passkey',
      name,
      created_at: createdAt,
      last_used_at: lastUsedAt,
      backed_up: backedUp,
      aaguid,
    })),
    ...(codesLeft > 0
      ? [
          {
            type: 'recovery_codes',
            name: null,
            created_at: recoveryCodes.createdAt,
            // a used code is not stored any more
            last_used_at: null,
            codes_left: codesLeft,
          },
        ]
      : []),
  ];
}
