/** The copy of a person's data that they download: all that the server knows of them, without secrets. */
import { listConsents } from '../../accounts/consents.ts';
import { allowedAtApis } from '../../accounts/data_for_apis.ts';
import { listGrants, listSessions } from '../../accounts/sessions.ts';
import { readEvents } from '../../audit/query.ts';
import { addSeconds, DAY_SECONDS } from '../../base/clock.ts';
import type { LoginContext } from '../login_context.ts';
import type { SessionUser } from '../session_user.ts';
import { ACTIVITY_DAYS, isByAdmin, OWN_EVENTS } from './activity_section.ts';
import { nameOf } from './account_shell.ts';
import { copyOfCredentials } from './copy_of_credentials.ts';

const EVENTS_AT_MOST = 5_000;

export async function copyOfData(login: LoginContext, { account, session }: SessionUser, now: Date): Promise<object> {
  const { accountId, email, emailVerified, name, profile, createdAt, updatedAt } = account;
  const lifetime = { now, absoluteSeconds: login.sessionAbsoluteTtlSeconds };
  const sessions = await listSessions(login.database, accountId, lifetime);
  return {
    made_at: now,
    issuer: login.issuer,
    account: {
      sub: accountId,
      email,
      email_verified: emailVerified,
      name,
      ...profile,
      created_at: createdAt,
      updated_at: updatedAt,
    },
    ...(await copyOfCredentials(login, accountId, now)),
    permissions: await permissionsOf(login, accountId, now),
    devices: sessions.map((one) => ({
      this_one: one.sessionId === session.uid,
      user_agent: one.device?.userAgent ?? null,
      address: one.device?.address ?? null,
      logged_in_at: one.createdAt,
      last_used_at: one.device?.usedAt ?? null,
      expires_at: one.expiresAt,
      clients: one.clients,
    })),
    activity: await activityOf(login, accountId, now),
  };
}

async function permissionsOf(login: LoginContext, accountId: string, now: Date): Promise<object[]> {
  const consents = await listConsents(login.database, accountId);
  const grants = await listGrants(login.database, accountId, now);
  const given = [
    ...consents.map(({ clientId, scopes, givenAt }) => ({ clientId, scopes, at: givenAt, remembered: true })),
    ...grants.map(({ clientId, granted, createdAt }) => ({
      clientId,
      scopes: granted,
      at: createdAt,
      remembered: false,
    })),
  ];
  return Promise.all(
    given.map(async ({ clientId, scopes, at, remembered }) => ({
      client_id: clientId,
      application: await nameOf(login, clientId),
      given_at: at,
      remembered,
      scopes: { ...scopes, resources: allowedAtApis(scopes.resources) },
    })),
  );
}

async function activityOf({ database }: LoginContext, accountId: string, now: Date): Promise<object[]> {
  const filter = { accountId, events: OWN_EVENTS, from: addSeconds(now, -ACTIVITY_DAYS * DAY_SECONDS) };
  const events = await readEvents(database, filter, { order: 'desc', limit: EVENTS_AT_MOST });
  return events.map((one) => ({
    at: one.occurredAt,
    event: one.event,
    outcome: one.outcome,
    client_id: one.clientId,
    address: isByAdmin(accountId, one) ? null : one.address,
  }));
}
