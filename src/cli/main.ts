/** The operator's command line, which works on the database and needs no running server. */
import { Command } from 'commander';
import { asCannotStart } from '../db/start_failure.ts';
import { exportAudit, keepAuditMonths, printAuditKeys, verifyAudit } from './audit.ts';
import { createAdminClient } from './create_admin.ts';
import { migrateDatabase } from './migrate.ts';
import { printResourceMetadata } from './resource_metadata.ts';
import { recoverInstallation } from './recover.ts';
import { rewrapMasterKey } from './rewrap_master_key.ts';

const program = new Command('gatehouse').description(
  'Administers a Gatehouse installation. Reads the same environment variables as the server.',
);

program.command('migrate').description('update the database schema to this version').action(migrateDatabase);

program
  .command('create-admin')
  .description('register a client with all scopes of the admin API, and print its secret once')
  .option('--name <name>', 'name of the client', 'Admin')
  .option(
    '--jwks <file>',
    'public keys of the client (JWK or JWK set); it then authenticates with private_key_jwt instead of a secret',
  )
  .action(createAdminClient);

program
  .command('resource-metadata')
  .description('print the protected resource metadata (RFC 9728) that an API publishes')
  .argument('<identifier>', 'identifier of the registered resource')
  .option('--dpop <how>', 'how the API handles DPoP: none, supported or required', 'none')
  .action(printResourceMetadata);

program
  .command('rewrap-master-key')
  .description(
    'encrypt all data keys with GATEHOUSE_MASTER_KEY instead of GATEHOUSE_MASTER_KEY_PREVIOUS; servers may keep running',
  )
  .action(rewrapMasterKey);

program
  .command('recover')
  .description(
    'after a restore, or a fail-over that lost changes: end all tokens, grants and sessions issued before; see docs/backup-and-recovery.md',
  )
  .requiredOption('--reason <text>', 'reason, stored in the audit trail')
  .option('--keep-logins', 'end only access tokens; keep sessions, grants and refresh tokens', false)
  .option(
    '--rotate-keys',
    'replace the signing keys, so that APIs that verify tokens themselves refuse old tokens too',
    false,
  )
  .action(recoverInstallation);

const audit = program.command('audit').description('export and verify the audit trail; see docs/audit-trail.md');

audit.command('keys').description('print the public keys that verify checkpoints').action(printAuditKeys);

audit
  .command('export')
  .description('write evidence to standard output: signed checkpoints, links and entries as lines of JSON')
  .option('--from <time>', 'start with the first checkpoint made at this time or later, such as 2026-01-31T08:00:00Z')
  .option('--to <time>', 'end with the first checkpoint made at this time or later')
  .action(exportAudit);

audit
  .command('keep-months')
  .description(
    'create partitions for the coming months and drop those older than GATEHOUSE_AUDIT_RETENTION_DAYS; servers normally do this themselves',
  )
  .action(keepAuditMonths);

audit
  .command('verify')
  .description('verify an export offline; if it was changed, name the first invalid entry and exit with code 1')
  .argument('<file>', 'export file, or - for standard input')
  .requiredOption('--key <file>', 'trusted public keys (JWK or JWK set), stored separately from the export')
  .option('--contains <hash>', 'hash of a checkpoint that the export must contain')
  .action(verifyAudit);

// not when the file is only compiled, as during the build of an image
if (import.meta.main) {
  // output fails, for example, with `gatehouse audit export | head` or a full disk: the result is incomplete
  for (const output of [process.stdout, process.stderr]) {
    output.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      if (code !== 'EPIPE' && output === process.stdout) process.stderr.write(`Cannot write the output: ${message}.\n`);
      process.exit(1);
    });
  }
  try {
    await program.parseAsync();
  } catch (error) {
    const startError = asCannotStart(error);
    if (startError) process.stderr.write(`${startError.message}\n`);
    else console.error(error);
    process.exitCode = 1;
  }
}
