/** Hashes passwords, and client secrets that people chose, with Argon2id in a separate process. */
import { availableParallelism } from 'node:os';
import type { Feature } from '../lifecycle/feature.ts';
import { Argon2id } from './argon2id.ts';

const AT_ONCE_AT_MOST = 2;

export function createPasswordHashing(): { readonly argon2id: Argon2id; readonly feature: Feature } {
  const argon2id = new Argon2id(Math.min(AT_ONCE_AT_MOST, availableParallelism()));
  const feature: Feature = {
    showMetrics(metrics) {
      metrics.gauge(
        'gatehouse_passwords_waiting',
        'Passwords and chosen secrets that wait to be looked at.',
        () => argon2id.waiting,
      );
    },
    stop: () => argon2id.stop(),
  };
  return { argon2id, feature };
}
