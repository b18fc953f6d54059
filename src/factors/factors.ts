/**
 * Factors of a login besides the password: authenticator apps (TOTP), passkeys and recovery codes, and the devices on
 * which a person does not repeat the second step. This folder stores and verifies them; login/ has their pages, and
 * admin/ their routes.
 */
import type { Database, Reader } from '../db/connection.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { Logger } from '../log.ts';
import type { Vault } from '../vault/vault.ts';
import { readFactors, type AccountFactors } from './account_factors.ts';
import { PasskeyCeremonies } from './passkey_ceremonies.ts';

export interface FactorsSettings {
  readonly issuer: string;
  /** `undefined` if this server offers no passkeys, because its host is an IP address. */
  readonly passkeyRpId: string | undefined;
  /** 32 bytes, the same on every node. */
  readonly passkeyChallengeKey: Buffer;
  readonly database: Database;
  readonly vault: Vault;
  readonly log: Logger;
  /** Whether this process logs, once for the node, why it offers no passkeys. */
  readonly explains: boolean;
}

export interface Factors {
  readonly vault: Vault;
  /** `undefined` if this server offers no passkeys. */
  readonly passkeys: PasskeyCeremonies | undefined;
  /** Reads the factors of an account that count at this server; `reader` is a transaction that must see them. */
  read(accountId: string, now: Date, reader?: Reader): Promise<AccountFactors>;
}

export function createFactors(settings: FactorsSettings): { readonly factors: Factors; readonly feature: Feature } {
  const { issuer, passkeyRpId: rpId, passkeyChallengeKey: challengeKey, database, vault, log, explains } = settings;
  const passkeys =
    rpId === undefined ? undefined : new PasskeyCeremonies({ rpId, origin: new URL(issuer).origin, challengeKey });
  return {
    factors: {
      vault,
      passkeys,
      read: (accountId, now, reader = database) =>
        readFactors(reader, accountId, { passkeys: passkeys !== undefined, now }),
    },
    feature: {
      start() {
        if (passkeys || !explains) return;
        const { hostname } = new URL(issuer);
        log.info(
          { issuer },
          `People can't use passkeys: the host ${hostname} of the issuer is an IP address, and passkeys need a name. For trials on this computer, use http://localhost.`,
        );
      },
    },
  };
}
