/** The operator's command line: what is done to a server's database from outside the server. */
import { Command } from 'commander';
import { asCannotStart } from '../db/start_failure.ts';
import { exportAudit, keepAuditMonths, printAuditKeys, verifyAudit } from './audit.ts';
import { createAdminClient } from './create_admin.ts';
import { migrateDatabase } from './migrate.ts';
import { printResourceMetadata } from './resource_metadata.ts';
import { recoverInstallation } from './recover.ts';
import { rewrapMasterKey } from './rewrap_master_key.ts';

const program = new Command('gatehouse').description(
  'Operates a Gatehouse installation. Reads the same environment as the server.',
);

program.command('migrate').description("bring the database's tables to this version").action(migrateDatabase);

program
  .command('create-admin')
  .description('register a client that may do everything in the admin API, and print its secret once')
  .option('--name <name>', 'what to call it', 'Admin')
  .option(
    '--jwks <file>',
    'its public keys, a JWK or a JWK set: it proves itself with private_key_jwt, without a secret',
  )
  .action(createAdminClient);

program
  .command('resource-metadata')
  .description('print the document (RFC 9728) that an API hosts to say where its tokens come from')
  .argument('<identifier>', 'the resource, as it is registered')
  .option('--dpop <how>', 'how the API takes DPoP: none, supported or required', 'none')
  .action(printResourceMetadata);

program
  .command('rewrap-master-key')
  .description(
    'seal everything that GATEHOUSE_MASTER_KEY_PREVIOUS sealed with GATEHOUSE_MASTER_KEY; servers may go on running',
  )
  .action(rewrapMasterKey);

program
  .command('recover')
  .description(
    'after a restore, or a fail-over that lost changes: end all that was given before; docs/backup-and-recovery.md says more',
  )
  .requiredOption('--reason <text>', 'why, for the audit trail')
  .option('--keep-logins', 'end access tokens alone: sessions, grants and refresh tokens stay', false)
  .option(
    '--rotate-keys',
    'replace the signing keys, so that APIs which verify by themselves refuse old tokens too',
    false,
  )
  .action(recoverInstallation);

const audit = program
  .command('audit')
  .description('the audit trail as evidence; docs/audit-trail.md says what it proves');

audit.command('keys').description('print the public keys that checkpoints are signed with').action(printAuditKeys);

audit
  .command('export')
  .description('write the evidence to standard output: signed checkpoints, links and entries, a line of JSON each')
  .option('--from <time>', 'from the first checkpoint made at this time or later, such as 2026-01-31T08:00:00Z')
  .option('--to <time>', 'through the first checkpoint made at this time or later')
  .action(exportAudit);

audit
  .command('keep-months')
  .description(
    'make the months to come, drop those older than GATEHOUSE_AUDIT_RETENTION_DAYS; servers do it themselves',
  )
  .action(keepAuditMonths);

audit
  .command('verify')
  .description('prove an export offline, or name the first entry that was changed, removed or added (and end with 1)')
  .argument('<file>', 'the export; - is standard input')
  .requiredOption('--key <file>', 'the public keys that you trust: a JWK or a JWK set, kept apart from the export')
  .option('--contains <hash>', 'the hash of a checkpoint that has to be in the export')
  .action(verifyAudit);

// not where it is only compiled, as while an image is built
if (import.meta.main) {
  // such as `gatehouse audit export | head`, or a disk that is full: what was to be written is not all there
  for (const output of [process.stdout, process.stderr]) {
    output.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      if (code !== 'EPIPE' && output === process.stdout) process.stderr.write(`Can't write the output: ${message}.\n`);
      process.exit(1);
    });
  }
  try {
    await program.parseAsync();
  } catch (error) {
    const told = asCannotStart(error);
    if (told) process.stderr.write(`${told.message}\n`);
    else console.error(error);
    process.exitCode = 1;
  }
}
