import { SYSTEM } from '../audit/events.ts';
import { withContext } from './command_context.ts';

/**
 * Encrypts every data key with the current master key. Servers with both keys can read them before and after; see
 * docs/operating.md for the order.
 */
export async function rewrapMasterKey(): Promise<void> {
  const rewrapped = await withContext(async ({ vault, trail }) => {
    const count = await vault.rewrap();
    if (count > 0) {
      await trail.record(SYSTEM, { event: 'master_key.changed', outcome: 'success', details: { rewrapped: count } });
    }
    return count;
  });
  process.stdout.write(
    rewrapped === 0
      ? 'Nothing to do: every data key is encrypted with GATEHOUSE_MASTER_KEY.\n'
      : `${rewrapped} data keys are now encrypted with GATEHOUSE_MASTER_KEY. GATEHOUSE_MASTER_KEY_PREVIOUS is no longer needed.\n`,
  );
}
