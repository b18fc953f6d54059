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

/** Ends what was given before a restore or a fail-over that lost changes; servers may be up. */
export async function recoverInstallation({ reason, keepLogins = false, rotateKeys = false }: Options): Promise<void> {
  if (reason.trim() === '' || reason.length > REASON_CHARACTERS)
    throw new CannotStart(`--reason must have 1 to ${REASON_CHARACTERS} characters: it goes into the audit trail.`);
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
      `Access tokens of ${clients} clients are ended.`,
      keepLogins
        ? 'Sessions and grants are kept.'
        : `${sessions} sessions and ${grants} grants, with their codes and refresh tokens, are ended.`,
      `${initialAccessTokens} initial access tokens are revoked.`,
      keys > 0
        ? `The signing keys of ${keys} algorithms are replaced.`
        : 'Signing keys are kept: APIs that verify access tokens by themselves take them until they expire.',
      '',
    ].join('\n'),
  );
}
