/**
 * Signing keys. This folder creates, publishes and rotates them (`next → current → previous → removed`), and keeps them
 * in memory to sign tokens and to verify this server's own access tokens. In the database, private keys are encrypted
 * (vault/).
 */
import type { Clock } from '../base/clock.ts';
import type { Feature } from '../lifecycle/feature.ts';
import { KeyRing } from './key_ring.ts';
import { KeyRotation, type RotationSettings } from './rotation.ts';
import { TokenVerifier } from './token_verifier.ts';
import { UnusedKeys } from './unused_keys.ts';

export interface KeysSettings extends Omit<RotationSettings, 'rotationDays'> {
  readonly keyRotationDays: number;
  readonly issuer: string;
  readonly clock: Clock;
}

export interface Keys {
  readonly ring: KeyRing;
  readonly rotation: KeyRotation;
  readonly tokenVerifier: TokenVerifier;
  readonly feature: Feature;
}

/** Creates the services for signing keys, and the first keys if the database has none. */
export async function createKeys({ issuer, keyRotationDays, clock, ...settings }: KeysSettings): Promise<Keys> {
  const ring = new KeyRing(settings.database, settings.vault);
  const rotation = new KeyRotation({ ...settings, rotationDays: keyRotationDays });
  await rotation.ensureKeys(clock());
  const unused = new UnusedKeys(settings);
  const feature: Feature = {
    caches: [
      {
        topic: 'signing_keys',
        onChange: () => ring.load(),
        load: () => ring.load(),
        // loaded before the data that is signed with these keys
        resetsFirst: true,
      },
    ],
    jobs: [
      {
        name: 'key_rotation',
        everyMilliseconds: 60_000,
        oncePerNode: true,
        run: () => rotation.runSchedule(clock()),
      },
      {
        name: 'unused_keys',
        everyMilliseconds: 600_000,
        oncePerNode: true,
        run: () => unused.remove(clock()),
      },
    ],
  };
  return { ring, rotation, tokenVerifier: new TokenVerifier(ring, issuer), feature };
}
