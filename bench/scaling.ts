/**
 * Measures the gain of a second process. The load also needs a core, so on two cores the benchmark can't load servers
 * on both. Instead it compares the CPU time of a request with one and with two processes, all on one core and with the
 * same number of connections each. Two processes disturb each other more on one core than on two, so the result does
 * not overstate the gain.
 */
import type { Conversation } from './conversations.ts';
import { closedLoop } from './load.ts';
import { median } from './report.ts';
import type { Target } from './target.ts';

/** Many short rounds, so that a disturbance affects few of them. */
const ROUNDS_FOR_ONE = 5;

export interface Served {
  readonly target: Target;
  readonly port: number;
  readonly processes: number;
}

export interface ScalingSettings {
  readonly one: Served;
  readonly two: Served;
  /** The conversations with each process. */
  readonly conversations: readonly Conversation[];
  readonly rounds: number;
  readonly seconds: number;
}

/** Returns a sentence with the figures, which are medians over alternating rounds. */
export async function scaling(settings: ScalingSettings): Promise<string> {
  const { one, two } = settings;
  const [rounds, seconds] = [settings.rounds * ROUNDS_FOR_ONE, settings.seconds / ROUNDS_FOR_ONE];
  const all: { readonly alone: number; readonly together: number }[] = [];
  // warm-up: fills caches and compiles code
  for (let round = 0; round < 3; round++) await cpuPerRequest(two, settings);
  const short = { ...settings, seconds };
  for (let round = 0; round < rounds; round++) {
    all.push({ alone: await cpuPerRequest(one, short), together: await cpuPerRequest(two, short) });
  }
  const times = median(all.map(({ alone, together }) => (2 * alone) / together));
  const [ofOne, ofTwo] = [median(all.map(({ alone }) => alone)), median(all.map(({ together }) => together))];
  return `Two workers (\`GATEHOUSE_WORKERS=2\`) on two cores do ${times.toFixed(2)} times what one process does: twice the CPU time of a client credentials request in one process (${ofOne.toFixed(0)} µs), divided by that in two (${ofTwo.toFixed(0)} µs, the primary’s included), measured with all of them on one core, because the load needs the other. What the database can take is not part of it.`;
}

async function cpuPerRequest(
  { target, port, processes }: Served,
  { conversations, seconds }: ScalingSettings,
): Promise<number> {
  const load = Array.from({ length: processes }, () => conversations).flat();
  const before = target.cpuMicroseconds();
  const { failures, units } = await closedLoop(port, load, seconds);
  if (failures > 0) throw new Error(`${failures} requests failed.`);
  return (target.cpuMicroseconds() - before) / units;
}
