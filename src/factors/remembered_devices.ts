/**
 * Devices on which a person asked not to repeat the second step. A device is known by a random cookie whose digest is
 * stored. It only helps where no request demands the second step (login/second_step_need.ts).
 */
import { randomBytes } from 'node:crypto';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import { randomId } from '../base/ids.ts';
import { sha256 } from '../base/secret.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Reader } from '../db/connection.ts';

export const REMEMBERED_DEVICE_SECONDS = 30 * DAY_SECONDS;
const DEVICES_OF_AN_ACCOUNT_AT_MOST = 20;

export interface RememberedDevice {
  readonly deviceId: string;
  readonly name: string;
  readonly createdAt: Date;
  readonly lastUsedAt: Date;
  readonly expiresAt: Date;
}

/** Returns the value of a new device's cookie: 32 random bytes, base64url. */
export function newDeviceCookie(): string {
  return randomBytes(32).toString('base64url');
}

/** Remembers the device of the cookie. The oldest device of an account with many is forgotten. */
export async function rememberDevice(
  { tx, trail, origin, now }: UnitOfWork,
  accountId: string,
  { cookie, name }: { readonly cookie: string; readonly name: string },
): Promise<void> {
  const deviceId = randomId('device');
  await tx
    .insertInto('remembered_devices')
    .values({
      device_id: deviceId,
      account_id: accountId,
      digest: sha256(cookie),
      name,
      created_at: now,
      last_used_at: now,
      expires_at: addSeconds(now, REMEMBERED_DEVICE_SECONDS),
    })
    .execute();
  const oldest = tx
    .selectFrom('remembered_devices')
    .select('device_id')
    .where('account_id', '=', accountId)
    .orderBy('created_at', 'desc')
    .orderBy('device_id')
    .offset(DEVICES_OF_AN_ACCOUNT_AT_MOST);
  await tx.deleteFrom('remembered_devices').where('device_id', 'in', oldest).execute();
  await trail.recordIn(tx, origin, {
    event: 'remembered_device.added',
    outcome: 'success',
    accountId,
    details: { device_id: deviceId },
  });
}

/** Notes the use of a remembered device. Returns false if the account does not remember the device (any more). */
export async function useRememberedDevice(
  { tx, now }: UnitOfWork,
  accountId: string,
  cookie: string,
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('remembered_devices')
    .set({ last_used_at: now })
    .where('account_id', '=', accountId)
    .where('digest', '=', sha256(cookie))
    .where('expires_at', '>', now)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

export async function isRememberedDevice(
  reader: Reader,
  accountId: string,
  cookie: string,
  now: Date,
): Promise<boolean> {
  const row = await reader
    .selectFrom('remembered_devices')
    .select('device_id')
    .where('account_id', '=', accountId)
    .where('digest', '=', sha256(cookie))
    .where('expires_at', '>', now)
    .executeTakeFirst();
  return row !== undefined;
}

/** The devices of an account, the newest first. */
export async function listRememberedDevices(reader: Reader, accountId: string, now: Date): Promise<RememberedDevice[]> {
  const rows = await reader
    .selectFrom('remembered_devices')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('expires_at', '>', now)
    .orderBy('created_at', 'desc')
    .orderBy('device_id')
    .execute();
  return rows.map((row) => ({
    deviceId: row.device_id,
    name: row.name,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
    expiresAt: row.expires_at,
  }));
}

/** Forgets one device. Returns whether the account had it. */
export async function forgetDevice(
  { tx, trail, origin }: UnitOfWork,
  accountId: string,
  deviceId: string,
): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('remembered_devices')
    .where('account_id', '=', accountId)
    .where('device_id', '=', deviceId)
    .executeTakeFirst();
  if (numDeletedRows === 0n) return false;
  const details = { device_id: deviceId };
  await trail.recordIn(tx, origin, { event: 'remembered_device.removed', outcome: 'success', accountId, details });
  return true;
}

/** Forgets all devices of the account, because one of its factors changed. */
export async function forgetAllDevices({ tx }: Pick<UnitOfWork, 'tx'>, accountId: string): Promise<void> {
  await tx.deleteFrom('remembered_devices').where('account_id', '=', accountId).execute();
}
