/** Roles and groups as an admin makes them, with the demo person as a member. */
import assert from 'node:assert/strict';
import type { Admin, Answer } from './admin.ts';

export interface HeldRole {
  readonly role: string;
  readonly groupId: string;
  readonly groupName: string;
}

let made = 0;

/** Makes a role with these scopes, and a group that holds it and has no member. */
export async function makeRole(admin: Admin, resource: string, ...scopes: readonly string[]): Promise<HeldRole> {
  const role = `role-${++made}`;
  created(await admin.post('/roles', { name: role, description: 'A test', resources: [{ resource, scopes }] }));
  const groupName = `Group ${made}`;
  const { body } = created(await admin.post('/groups', { name: groupName, roles: [role] }));
  return { role, groupId: String(body['group_id']), groupName };
}

export async function addTo(admin: Admin, { groupId }: Pick<HeldRole, 'groupId'>, accountId: string): Promise<void> {
  created(await admin.post(`/groups/${groupId}/members`, { account_id: accountId }));
}

export async function removeFrom(
  admin: Admin,
  { groupId }: Pick<HeldRole, 'groupId'>,
  accountId: string,
): Promise<void> {
  const { status, text } = await admin.delete(`/groups/${groupId}/members/${accountId}`);
  assert.equal(status, 204, text);
}

/** Takes the role from its group and deletes both, so that its scopes are for every person again. */
export async function endRole(admin: Admin, { role, groupId }: HeldRole): Promise<void> {
  for (const path of [`/groups/${groupId}`, `/roles/${role}?open_scopes=true`]) {
    const { status, text } = await admin.delete(path);
    assert.equal(status, 204, text);
  }
}

/** The id of the demo person's account. */
export async function demoAccountId(admin: Admin): Promise<string> {
  const q = encodeURIComponent(admin.gatehouse.account.email);
  return (await admin.get(`/accounts?q=${q}`)).body.items[0]!.account_id;
}

function created(answer: Answer): Answer {
  assert.equal(answer.status, 201, answer.text);
  return answer;
}
