/**
 * Asks a service whether a password was found in a breach. The service learns only the first five digits of the
 * password's SHA-1, which many passwords share, and answers with the rest of all that begin so (the range search of Have
 * I Been Pwned). If it does not answer, the password counts as not breached: it must not keep people from a new one.
 */
import { createHash } from 'node:crypto';
import type { Egress } from '../egress/egress.ts';
import { EgressFailed } from '../egress/failure.ts';

const PREFIX_LENGTH = 5;

export class BreachedPasswords {
  readonly #egress: Pick<Egress, 'get'>;
  readonly #url: string;

  /** `url` has no slash at the end, such as `https://api.pwnedpasswords.com/range`. */
  constructor(egress: Pick<Egress, 'get'>, url: string) {
    this.#egress = egress;
    this.#url = url;
  }

  async has(password: string): Promise<boolean> {
    const hash = createHash('sha1').update(password).digest('hex').toUpperCase();
    const prefix = hash.slice(0, PREFIX_LENGTH);
    try {
      const { body } = await this.#egress.get(`${this.#url}/${prefix}`, { vetted: true });
      return body
        .toString()
        .split(/\r?\n/)
        .some((line) => isOf(line, hash.slice(PREFIX_LENGTH)));
    } catch (error) {
      if (error instanceof EgressFailed) return false;
      throw error;
    }
  }
}

/** A line is `SUFFIX:COUNT`. A count of 0 is padding. */
function isOf(line: string, suffix: string): boolean {
  const [found = '', count = ''] = line.split(':');
  return found.toUpperCase() === suffix && Number(count) > 0;
}
