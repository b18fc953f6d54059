/** `gatehouse audit …`: the trail as evidence. Verifying needs no server and no database, only the file and the key. */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { SYSTEM } from '../audit/events.ts';
import { exportEvidence } from '../audit/evidence.ts';
import { IntegrityError } from '../audit/integrity_error.ts';
import { verifyEvidence, type Proof } from '../audit/verifier.ts';
import { keepPartitions } from '../audit/upkeep.ts';
import { CannotStart } from '../base/cannot_start.ts';
import { asOwner } from '../db/roles.ts';
import { interruptible, withContext } from './command_context.ts';

/** The public keys, as a JWK set: what an auditor keeps in a place of their own. */
export async function printAuditKeys(): Promise<void> {
  const keys = await withContext(({ auditKeys }) => Promise.resolve(auditKeys.publicJwks));
  process.stdout.write(`${JSON.stringify({ keys }, undefined, 2)}\n`);
}

/** Writes the evidence of a range to standard output, under a checkpoint that covers all that was written before. */
export async function exportAudit({ from, to }: { from?: string; to?: string }): Promise<void> {
  const range = { from: timeOf('--from', from), to: timeOf('--to', to) };
  await withContext(async ({ config, database, trail, auditKeys, checkpoints }) => {
    const details = { from: from ?? null, to: to ?? null, evidence: true };
    await trail.record(SYSTEM, { event: 'audit.exported', outcome: 'success', details });
    await checkpoints.make();
    const lines = exportEvidence({ database, keys: auditKeys, issuer: config.issuer }, range, new Date());
    await pipeline(Readable.from(lines, { highWaterMark: 1 }), process.stdout, { end: false });
  });
}

/** Makes the months to come and drops those that are old enough: for servers that don't have the tables' owner. */
export async function keepAuditMonths(): Promise<void> {
  await withContext(({ config, database, trail }) =>
    asOwner(config.ownerDatabaseUrl, database, (owner) =>
      keepPartitions(owner, trail, new Date(), config.auditRetentionDays),
    ),
  );
  process.stdout.write("The audit trail's months are made, and what is older than the retention is dropped.\n");
}

/** Says what the file proves, or names the first thing in it that is not as it was written, and then ends with 1. */
export function verifyAudit(file: string, options: { key: string; contains?: string }): Promise<void> {
  return interruptible(() => verify(file, options));
}

async function verify(file: string, { key, contains }: { key: string; contains?: string }): Promise<void> {
  const trusted = await readKeys(key);
  const input = file === '-' ? process.stdin : createReadStream(file);
  const failed = new Promise<never>((_, reject) => input.once('error', reject));
  const lines = createInterface({ input, crlfDelay: Infinity });
  try {
    const proof = await Promise.race([verifyEvidence(lines, trusted, contains), failed]);
    process.stdout.write(describe(proof));
  } catch (error) {
    if (!(error instanceof IntegrityError))
      throw new CannotStart(`${file} can't be read: ${(error as Error).message}.`, { cause: error });
    process.stdout.write(`Not proven. ${error.message}\n`);
    process.exitCode = 1;
  }
}

function describe({ entries, unproven, setBacks, first, last }: Proof): string {
  return [
    `Proven: ${entries} entries, none changed, removed or added.`,
    `From checkpoint ${first?.number} (${first?.made_at}) through checkpoint ${last?.number} (${last?.made_at}).`,
    `The last checkpoint's hash is ${last?.hash}: keep it, and give it as --contains the next time.`,
    ...(unproven > 0
      ? [`${unproven} entries are from before there were links, or from a node of that time: nothing proves them.`]
      : []),
    ...setBacks.map(describeSetBack),
    '',
  ].join('\n');
}

function describeSetBack({ occurred_at: at, details }: Proof['setBacks'][number]): string {
  const { lost_entries: entries, lost_checkpoint: number, lost_checkpoint_hash: hash } = details;
  const lost = [
    `${String(entries)} entries that a node had written`,
    ...(typeof number === 'number' ? [`what stood under the checkpoints up to ${number} (${String(hash)})`] : []),
  ];
  return `The database was set back before ${at}; lost are ${lost.join(', and ')}. The log stream has the entries.`;
}

/** A file with a JWK or a JWK set. Each key has to have the thumbprint that it goes by. */
async function readKeys(file: string): Promise<JWK[]> {
  try {
    const value = JSON.parse(await readFile(file, 'utf8')) as JWK & { keys?: JWK[] };
    const keys = value.keys ?? [value];
    return await Promise.all(keys.map(async (key) => ({ ...key, kid: await calculateJwkThumbprint(key) })));
  } catch (error) {
    throw new CannotStart(`${file} holds no public key (a JWK or a JWK set): ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

function timeOf(option: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new CannotStart(`${option} must be a time such as 2026-01-31T08:00:00Z.`);
  return time;
}
