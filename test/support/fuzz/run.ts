/**
 * A run: requests in the order of a seed, a few at a time, until the time is over or something broke. By hand:
 * `npm run fuzz -- --seconds 600 --seed 7`.
 */
import { parseArgs } from 'node:util';
import { aim } from './aim.ts';
import { Random } from './random.ts';
import { bytesOf, complaintsAbout, send, type Shot } from './shot.ts';
import { startTarget, type AllMeans, type Target } from './target.ts';

export interface Outcome {
  readonly shots: number;
  /** How often each status came. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly findings: readonly string[];
}

export interface RunOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly shotsAtMost?: number;
}

const AT_ONCE = 8;
/** Tokens and logins run out; after so many requests there are new ones. */
const SHOTS_WITH_ONE_LOGIN = 400;
const FINDINGS_AT_MOST = 10;

export async function fuzz(target: Target, { seed, seconds, shotsAtMost = Infinity }: RunOptions): Promise<Outcome> {
  const random = new Random(seed);
  const findings: string[] = [];
  const statuses: Record<string, number> = {};
  const until = performance.now() + seconds * 1000;
  // each route as often as each other
  const routes = random.shuffled(target.routes);
  let means: AllMeans | undefined;
  let shots = 0;
  while (performance.now() < until && shots < shotsAtMost && findings.length < FINDINGS_AT_MOST) {
    if (shots % SHOTS_WITH_ONE_LOGIN === 0 || !means) means = await target.means();
    const salvo = Array.from({ length: AT_ONCE }, (_, index) =>
      aim(random, routes[(shots + index) % routes.length]!, { ...means!, ...random.pick(means!.browsers) }),
    );
    shots += salvo.length;
    const found = await Promise.all(salvo.map((shot) => judged(target, shot, statuses)));
    findings.push(...found.filter((finding) => finding !== undefined));
    const unwell = shots % (AT_ONCE * 10) === 0 ? await troubleOf(target) : undefined;
    if (unwell !== undefined) {
      findings.push(`${unwell}\nafter one of\n${salvo.map(inShort).join('\n')}`);
      break;
    }
  }
  const unwell = await troubleOf(target);
  if (unwell !== undefined && findings.length === 0) findings.push(unwell);
  return { shots, statuses, findings };
}

async function judged(target: Target, shot: Shot, statuses: Record<string, number>): Promise<string | undefined> {
  try {
    const answer = await send(target.port, bytesOf(shot), shot.breaksOff);
    const status = String(answer.status ?? 'none');
    statuses[status] = (statuses[status] ?? 0) + 1;
    const complaints = complaintsAbout(answer);
    if (answer.status === undefined && !shot.breaksOff) complaints.push('no answer');
    return complaints.length === 0 ? undefined : `${complaints.join('; ')}\n${describe(shot)}`;
  } catch (error) {
    return `${String(error)}\n${describe(shot)}`;
  }
}

async function troubleOf(target: Target): Promise<string | undefined> {
  return target.assertWell().then(
    () => undefined,
    (error: unknown) => String(error),
  );
}

/** So that it can be read, and sent again. */
function describe(shot: Shot): string {
  return `${inShort(shot)}\n  echo ${bytesOf(shot).toString('base64')} | base64 -d | nc 127.0.0.1 PORT`;
}

function inShort(shot: Shot): string {
  return `  ${JSON.stringify(bytesOf(shot).toString('latin1').slice(0, 400))}`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } } });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32));
  console.log(`seed ${seed}`);
  const target = await startTarget();
  try {
    const { shots, statuses, findings } = await fuzz(target, { seed, seconds: Number(values.seconds) });
    console.log(`${shots} requests: ${JSON.stringify(statuses)}`);
    for (const finding of findings) console.log(`\n${finding}`);
    if (findings.length > 0) console.log(`\nAgain: npm run fuzz -- --seed ${seed} --seconds ${values.seconds}`);
    process.exitCode = findings.length === 0 ? 0 : 1;
  } finally {
    await target.stop();
  }
}

if (import.meta.main) await main();
