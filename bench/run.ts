/**
 * `npm run bench`: measures a node, the bare library and the ceiling in turn. Each runs in its own process on one core;
 * the load comes from another core. Prints medians over the rounds and writes docs/benchmarks.md.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { any, post, type Conversation } from './conversations.ts';
import { closedLoop, openLoop, type LoadResult } from './load.ts';
import { settle, startPostgres } from './postgres.ts';
import { median, page, table, type Measured } from './report.ts';
import { scaling } from './scaling.ts';
import { MACHINE, prepare, TOKEN_FORM, tokensOnly } from './scenarios.ts';
import { Seed } from './seed.ts';
import { timeToFirstToken } from './start.ts';
import { GATEHOUSE, Target } from './target.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 5);
const SECONDS = Number(process.env['SECONDS'] ?? 4);
const CLIENTS = Number(process.env['CLIENTS'] ?? 5_000);
const CROWD = Number(process.env['CROWD'] ?? 1_000_000);
const CONNECTIONS = 16;
/** The rate of the open loop, as a share of the server's maximum rate. */
const OPEN_LOOP_SHARE = 0.7;
const MASTER_KEY = Buffer.from('a master key for the bench only!').toString('base64');

interface Contestant {
  readonly name: string;
  readonly port: number;
  readonly conversations: readonly Conversation[];
  readonly target: Target;
}

const folder = await mkdtemp(join(tmpdir(), 'gatehouse-bench-'));
const postgres = await startPostgres(folder);
const targets: Target[] = [];
try {
  const report = await measureAll(postgres.url);
  process.stdout.write(`${report}\n`);
  await writeFile(join(import.meta.dirname, '../docs/benchmarks.md'), page(report, { ROUNDS, SECONDS, CONNECTIONS }));
} finally {
  for (const target of targets) await target.stop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}

async function measureAll(databaseUrl: string): Promise<string> {
  const ceiling = await launch('targets/ceiling.ts', 4101);
  const library = await launch('targets/bare_library.ts', 4102);
  const settings = {
    NODE_ENV: 'development',
    ISSUER: 'http://127.0.0.1:4103',
    DATABASE_URL: databaseUrl,
    GATEHOUSE_MASTER_KEY: MASTER_KEY,
    GATEHOUSE_DATA_DIR: folder,
    // high limits, because one client sends all code flows and one resource server introspects all tokens
    GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '100000',
    GATEHOUSE_CLIENT_REQUESTS_BURST: '100000',
    GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
    GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
  };
  const gatehouse = await launch(GATEHOUSE, 4103, { ...settings, GATEHOUSE_MANAGEMENT_PORT: '4104' });
  const seed = await Seed.in(databaseUrl, MASTER_KEY);
  const scenarios = await prepare(seed, 'http://127.0.0.1:4103', CLIENTS);
  const one = Array.from({ length: CONNECTIONS }, () =>
    any([post('/token', { id: 'client', secret: 'secret' }, TOKEN_FORM)]),
  );
  const contestants: Contestant[] = [
    { name: 'ceiling', port: 4101, conversations: one, target: ceiling },
    { name: 'bare library, client credentials', port: 4102, conversations: one, target: library },
    ...scenarios.map(({ name, conversations }) => ({
      name: `Gatehouse, ${name}`,
      port: 4103,
      conversations,
      target: gatehouse,
    })),
  ];
  const rounds = await inTurn(contestants);
  const open = await atSevenTenths(contestants, rounds);
  const scaled = await withWorkers(contestants, settings);
  const started = await timeToFirstToken({
    environment: { ...settings, GATEHOUSE_MANAGEMENT_PORT: '4108' },
    port: 4107,
    client: (await seed.clients(1, MACHINE))[0]!,
    rounds: ROUNDS,
  });
  const grown = await amongMany(seed, contestants[0]!, gatehouse);
  await seed.stop();
  return [table(rounds), '', open, '', scaled, '', started, '', grown].join('\n');
}

/** Starts a server. `script` is a file of this folder, or the start command of a node. */
async function launch(
  script: string | readonly string[],
  port: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<Target> {
  const command = typeof script === 'string' ? [join(import.meta.dirname, script)] : script;
  const target = new Target(command, { PORT: String(port), ...environment });
  targets.push(target);
  await target.ready(port);
  return target;
}

/** Runs the rounds in turn, so that other load on the machine affects all of them equally. */
async function inTurn(contestants: readonly Contestant[]): Promise<Map<string, Measured[]>> {
  const rounds = new Map(contestants.map(({ name }): [string, Measured[]] => [name, []]));
  for (const contestant of contestants) await measure(contestant, 2);
  for (let round = 1; round <= ROUNDS; round++) {
    await settle(postgres.url);
    for (const contestant of contestants) rounds.get(contestant.name)!.push(await measure(contestant, SECONDS));
    process.stderr.write(`round ${round} of ${ROUNDS}\n`);
  }
  return rounds;
}

async function measure({ port, conversations, target }: Contestant, seconds: number): Promise<Measured> {
  const before = target.cpuMicroseconds();
  const result = await closedLoop(port, conversations, seconds);
  return {
    perSecond: result.units / result.seconds,
    cpuMicroseconds: (target.cpuMicroseconds() - before) / result.units,
    p50: quantile(result, 0.5),
    p99: quantile(result, 0.99),
    failures: result.failures,
    residentMegabytes: target.residentMegabytes(),
  };
}

async function atSevenTenths(
  contestants: readonly Contestant[],
  rounds: ReadonlyMap<string, readonly Measured[]>,
): Promise<string> {
  const { name, port, conversations } = tokenContestant(contestants);
  const perSecond = OPEN_LOOP_SHARE * median(rounds.get(name)!.map((measured) => measured.perSecond));
  const many = Array.from({ length: 8 }, () => conversations).flat();
  await settle(postgres.url);
  // warm-up: new connections, and a server that did other work before, would distort the result
  await openLoop(port, many, { perSecond, seconds: SECONDS });
  const result = await openLoop(port, many, { perSecond, seconds: 3 * SECONDS });
  const [p50, p99] = [quantile(result, 0.5), quantile(result, 0.99)].map((milliseconds) => milliseconds.toFixed(1));
  return `Open loop, client credentials at 70 % of the maximum (${perSecond.toFixed(0)}/s): p50 ${p50} ms, p99 ${p99} ms, ${result.failures} failures.`;
}

/** Compares a node of two processes with a node of one process. */
async function withWorkers(
  contestants: readonly Contestant[],
  settings: Readonly<Record<string, string>>,
): Promise<string> {
  const { target, port, conversations } = tokenContestant(contestants);
  const environment = { ...settings, GATEHOUSE_WORKERS: '2', GATEHOUSE_MANAGEMENT_PORT: '4106' };
  const two = { target: await launch(GATEHOUSE, 4105, environment), port: 4105, processes: 2 };
  // the primary process answers probes once all workers run
  await two.target.ready(4106);
  const one = { target, port, processes: 1 };
  const sentence = await scaling({ one, two, conversations, rounds: ROUNDS, seconds: SECONDS });
  await two.target.stop();
  return sentence;
}

function tokenContestant(contestants: readonly Contestant[]): Contestant {
  return contestants.find((one) => one.name.endsWith('client credentials') && one.port === 4103)!;
}

/** Measures the same clients before and after a million others are in the database. */
async function amongMany(seed: Seed, ceiling: Contestant, gatehouse: Target): Promise<string> {
  const contestant = { name: '', port: 4103, target: gatehouse, conversations: await tokensOnly(seed, 1_000) };
  await measure(contestant, 2);
  const few = await ratios(contestant, ceiling);
  await seed.crowd(CROWD);
  await measure(contestant, 2);
  const many = await ratios(contestant, ceiling);
  return `CPU per client credentials request against the ceiling’s: ${few.toFixed(2)} with few clients in the database, ${many.toFixed(2)} with ${CROWD.toLocaleString('en')} more.`;
}

async function ratios(contestant: Contestant, ceiling: Contestant): Promise<number> {
  const all: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const least = await measure(ceiling, SECONDS / 2);
    all.push((await measure(contestant, SECONDS / 2)).cpuMicroseconds / least.cpuMicroseconds);
  }
  return median(all);
}

function quantile({ latencies }: LoadResult, share: number): number {
  return latencies[Math.floor(latencies.length * share)] ?? 0;
}
