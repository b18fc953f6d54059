import { SYSTEM } from '../audit/events.ts';
import { withContext } from './command_context.ts';

/** Re-wraps every data key. Servers that know both keys go on reading meanwhile; see docs/operating.md for the order. */
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
      ? 'Nothing to do: GATEHOUSE_MASTER_KEY seals every data key already.\n'
      : `${rewrapped} data keys were sealed anew. GATEHOUSE_MASTER_KEY_PREVIOUS is not needed any more.\n`,
  );
}
