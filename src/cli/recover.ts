import { CannotStart } from '../base/cannot_start.ts';
import { KeyRotation } from '../keys/rotation.ts';
import { recover } from '../maintenance/recovery.ts';
import { withContext } from './command_context.ts';

interface Options {
  readonly reason: string;
  readonly keepLogins?: boolean;
  readonly rotateKeys?: boolean;
}

const REASON_CHARACTERS = 200;

/** Ends tokens, grants and sessions from before a restore or a fail-over that lost changes; servers may be running. */
export async function recoverInstallation({ reason, keepLogins = false, rotateKeys = false }: Options): Promise<void> {
  if (reason.trim() === '' || reason.length > REASON_CHARACTERS)
    throw new CannotStart(`--reason must have 1 to ${REASON_CHARACTERS} characters; it is stored in the audit trail.`);
  const { clients, grants, sessions, initialAccessTokens, keys } = await withContext(
    async ({ config, database, vault, trail, checkpoints }) => {
      const { jwksMaxAgeSeconds, keyRotationDays: rotationDays, rsaBits } = config;
      const rotation = new KeyRotation({ database, vault, trail, jwksMaxAgeSeconds, rotationDays, rsaBits });
      const recovered = await recover({ database, trail, rotation }, { reason, keepLogins, rotateKeys }, new Date());
      await checkpoints.make();
      return recovered;
    },
  );
  process.stdout.write(
    [
      `Ended the access tokens of ${clients} clients.`,
      keepLogins
        ? 'Kept sessions and grants.'
        : `Ended ${sessions} sessions and ${grants} grants with their codes and refresh tokens.`,
      `Revoked ${initialAccessTokens} initial access tokens.`,
      keys > 0
        ? `Replaced the signing keys of ${keys} algorithms.`
        : 'Kept the signing keys: APIs that verify access tokens themselves accept old ones until they expire.',
      '',
    ].join('\n'),
  );
}
