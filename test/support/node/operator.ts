/** What an operator sets up for a test, through the functions of src/ and one transaction each. */
import { setTimeout as delay } from 'node:timers/promises';
import type { UnitOfWork } from '../../../src/audit/unit_of_work.ts';
import { SYSTEM } from '../../../src/audit/events.ts';
import { Argon2id } from '../../../src/password_hashing/argon2id.ts';
import { usesSecret } from '../../../src/clients/metadata/client_authentication.ts';
import { ClientMetadata } from '../../../src/clients/metadata/client_metadata.ts';
import { createClient, lockClient } from '../../../src/clients/client_store.ts';
import { addSecret } from '../../../src/clients/secrets.ts';
import { makeSecret } from '../../../src/clients/generated_secret.ts';
import { transact } from '../../../src/db/transaction.ts';
import { NewResource } from '../../../src/resources/resource_members.ts';
import { createResource } from '../../../src/resources/resource_rows.ts';
import { MasterKey } from '../../../src/vault/master_key.ts';
import { Vault } from '../../../src/vault/vault.ts';
import { postForm, TEST_MASTER_KEY, type Gatehouse } from './gatehouse.ts';
import { openTrail } from './audit_trail.ts';

export interface RegisteredClient {
  readonly client_id: string;
  /** Empty for a client without a secret. */
  readonly client_secret: string;
}

/** Carries out a change in one transaction; nodes learn of it as they do of any other. */
export async function change<T>(
  { database }: Pick<Gatehouse, 'database'>,
  work: (change: UnitOfWork) => Promise<T>,
): Promise<T> {
  const trail = await openTrail(database);
  return transact(database, (tx) => work({ tx, trail, origin: SYSTEM, now: new Date() }));
}

/** A client that may ask for everything of the demo API, unless its metadata says otherwise. */
export async function registerClient(
  gatehouse: Gatehouse,
  metadata: Readonly<Record<string, unknown>> = {},
): Promise<RegisteredClient> {
  const { demo, database } = gatehouse;
  const parsed = ClientMetadata.parse({
    resources: [{ resource: demo.resource, scopes: demo.scope.split(' ') }],
    ...metadata,
  });
  const pepper = await new Vault(database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]).current(
    'pepper',
    new Date(),
  );
  return change(gatehouse, async (itsChange) => {
    const { clientId } = await createClient(itsChange, parsed);
    if (!usesSecret(parsed)) return { client_id: clientId, client_secret: '' };
    const value = makeSecret();
    await addSecret(itsChange, await lockClient(itsChange.tx, clientId), {
      check: { pepper, value },
      overlapSeconds: 0,
    });
    return { client_id: clientId, client_secret: value.reveal() };
  });
}

const hasher = new Argon2id(1);

/** Gives a client a secret that the operator chose, in place of the one it has. */
export async function bringSecret(gatehouse: Gatehouse, clientId: string, secret: string): Promise<void> {
  const argon2id = await hasher.hash(secret);
  await change(gatehouse, async (itsChange) =>
    addSecret(itsChange, await lockClient(itsChange.tx, clientId), { check: { argon2id }, overlapSeconds: 0 }),
  );
}

/** An API with the scopes `<name>:read` and `<name>:write`, known to the node when this resolves. */
export async function registerResource(
  gatehouse: Gatehouse,
  name: string,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<{ readonly resource: string; readonly scopes: string[] }> {
  const resource = `https://${name}.example.com`;
  const scopes = [`${name}:read`, `${name}:write`];
  const described = scopes.map((scope) => ({ name: scope, description: `May ${scope}` }));
  await change(gatehouse, (itsChange) =>
    createResource(itsChange, NewResource.parse({ identifier: resource, scopes: described, ...settings })),
  );
  const prober = await registerClient(gatehouse, { resources: [{ resource, scopes }] });
  await eventually(async () => {
    const { status } = await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials' }, prober);
    return status === 200;
  });
  return { resource, scopes };
}

/**
 * Waits for something that must come true, and throws when it does not. What is promised within a second has ten, since
 * this machine may be busy with something else; two_nodes.test.ts measures the second.
 */
export async function eventually(condition: () => Promise<boolean>, withinMilliseconds = 10_000): Promise<void> {
  const began = performance.now();
  while (!(await condition())) {
    const waited = performance.now() - began;
    if (waited > withinMilliseconds) throw new Error(`Still not so after ${withinMilliseconds} ms.`);
    // seldom when it takes long: the questions take time from what they ask about
    await delay(Math.min(10 + waited / 10, 50));
  }
}
