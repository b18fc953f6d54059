/**
 * `gatehouse audit …`: exports and verifies the audit trail as evidence. Verification needs only the file and the key,
 * not the server or the database.
 */
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

/** Prints the public keys as a JWK set; auditors keep a copy of them. */
export async function printAuditKeys(): Promise<void> {
  const keys = await withContext(({ auditKeys }) => Promise.resolve(auditKeys.publicJwks));
  process.stdout.write(`${JSON.stringify({ keys }, undefined, 2)}\n`);
}

/** Writes the evidence of a range to standard output, after it makes a checkpoint that covers all earlier entries. */
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

/**
 * Creates partitions for the coming months and drops expired ones, for servers whose database user does not own the
 * tables.
 */
export async function keepAuditMonths(): Promise<void> {
  await withContext(({ config, database, trail }) =>
    asOwner(config.ownerDatabaseUrl, database, (owner) =>
      keepPartitions(owner, trail, new Date(), config.auditRetentionDays),
    ),
  );
  process.stdout.write(
    'The partitions of the audit trail for the coming months exist; those older than the retention are dropped.\n',
  );
}

/** Prints what the file proves. If verification fails, prints the first invalid entry and exits with code 1. */
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
      throw new CannotStart(`${file} cannot be read: ${(error as Error).message}.`, { cause: error });
    process.stdout.write(`Not proven. ${error.message}\n`);
    process.exitCode = 1;
  }
}

function describe({ entries, unproven, setBacks, first, last }: Proof): string {
  return [
    `Proven: ${entries} entries, none changed, removed or added.`,
    `From checkpoint ${first?.number} (${first?.made_at}) through checkpoint ${last?.number} (${last?.made_at}).`,
    `The hash of the last checkpoint is ${last?.hash}. Keep it and pass it as --contains next time.`,
    ...(unproven > 0
      ? [`${unproven} entries were written by an earlier version without links; they are not proven.`]
      : []),
    ...setBacks.map(describeSetBack),
    '',
  ].join('\n');
}

function describeSetBack({ occurred_at: at, details }: Proof['setBacks'][number]): string {
  const { lost_entries: entries, lost_checkpoint: number, lost_checkpoint_hash: hash } = details;
  const lost = [
    `${String(entries)} entries that a node had written`,
    ...(typeof number === 'number' ? [`everything covered by the checkpoints up to ${number} (${String(hash)})`] : []),
  ];
  return `The database was restored to an earlier state before ${at}. Lost: ${lost.join(', and ')}. The log stream contains the entries.`;
}

/** Reads a JWK or JWK set from a file. Computes the thumbprint of each key as its kid. */
async function readKeys(file: string): Promise<JWK[]> {
  try {
    const value = JSON.parse(await readFile(file, 'utf8')) as JWK & { keys?: JWK[] };
    const keys = value.keys ?? [value];
    return await Promise.all(keys.map(async (key) => ({ ...key, kid: await calculateJwkThumbprint(key) })));
  } catch (error) {
    throw new CannotStart(`${file} contains no public key (a JWK or a JWK set): ${(error as Error).message}.`, {
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
