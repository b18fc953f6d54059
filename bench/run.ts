/**
 * `npm run bench`: client credentials on Gatehouse, on the bare library and on the ceiling, in turn, each in a process
 * of its own on one core, loaded from another. Prints medians over the rounds and writes docs/benchmarks.md.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded } from '../src/db/embedded.ts';
import { registerClients } from './clients.ts';
import { load, tokenRequest } from './load.ts';
import { Target } from './target.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 5);
const SECONDS = Number(process.env['SECONDS'] ?? 4);
const CONNECTIONS = 16;
const MASTER_KEY = Buffer.from('a master key for the bench only!').toString('base64');
const FORM = 'grant_type=client_credentials&scope=notes%3Aread';

interface Contestant {
  readonly name: string;
  readonly port: number;
  readonly requests: readonly Buffer[];
  readonly target: Target;
}

interface Measured {
  readonly perSecond: number;
  readonly cpuMicroseconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
  readonly residentMegabytes: number;
}

const folder = await mkdtemp(join(tmpdir(), 'gatehouse-bench-'));
const postgres = await startEmbedded(folder);
const targets: Target[] = [];
try {
  const contestants = await start(postgres.url);
  const rounds = new Map(contestants.map(({ name }): [string, Measured[]] => [name, []]));
  for (const contestant of contestants) await measure(contestant, 2);
  for (let round = 1; round <= ROUNDS; round++) {
    for (const contestant of contestants) rounds.get(contestant.name)!.push(await measure(contestant, SECONDS));
    process.stderr.write(`round ${round} of ${ROUNDS}\n`);
  }
  const report = table(rounds);
  process.stdout.write(`${report}\n`);
  await writeFile(join(import.meta.dirname, '../docs/benchmarks.md'), page(report));
} finally {
  for (const target of targets) await target.stop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}

async function start(databaseUrl: string): Promise<Contestant[]> {
  const launch = async (
    script: string,
    port: number,
    environment: Readonly<Record<string, string>> = {},
  ): Promise<Target> => {
    const target = new Target(join(import.meta.dirname, script), { PORT: String(port), ...environment });
    targets.push(target);
    await target.ready(port);
    return target;
  };
  const ceiling = await launch('targets/ceiling.ts', 4101);
  const library = await launch('targets/bare_library.ts', 4102);
  const gatehouse = await launch('../src/main.ts', 4103, {
    DATABASE_URL: databaseUrl,
    GATEHOUSE_MASTER_KEY: MASTER_KEY,
    GATEHOUSE_DATA_DIR: folder,
    GATEHOUSE_MANAGEMENT_PORT: '4104',
  });
  const clients = await registerClients(databaseUrl, MASTER_KEY, 1_000);
  const one = tokenRequest({ id: 'client', secret: 'secret' }, FORM);
  return [
    { name: 'ceiling', port: 4101, requests: [one], target: ceiling },
    { name: 'bare library, 1 client', port: 4102, requests: [one], target: library },
    { name: 'Gatehouse, 1 client', port: 4103, requests: [tokenRequest(clients[0]!, FORM)], target: gatehouse },
    {
      name: 'Gatehouse, 1,000 clients',
      port: 4103,
      requests: clients.map((client) => tokenRequest(client, FORM)),
      target: gatehouse,
    },
  ];
}

async function measure({ port, requests, target }: Contestant, seconds: number): Promise<Measured> {
  const before = target.cpuMicroseconds();
  const result = await load(port, requests, CONNECTIONS, seconds);
  const at = (share: number): number => result.latencies[Math.floor(result.latencies.length * share)] ?? 0;
  return {
    perSecond: result.requests / result.seconds,
    cpuMicroseconds: (target.cpuMicroseconds() - before) / result.requests,
    p50: at(0.5),
    p99: at(0.99),
    failures: result.failures,
    residentMegabytes: target.residentMegabytes(),
  };
}

function table(rounds: ReadonlyMap<string, readonly Measured[]>): string {
  const cpuOfCeiling = median(rounds.get('ceiling')!.map((measured) => measured.cpuMicroseconds));
  const rows = [...rounds].map(([name, all]) => {
    const of = (member: keyof Measured): number => median(all.map((measured) => measured[member]));
    const cells = [
      name,
      of('perSecond').toFixed(0),
      of('cpuMicroseconds').toFixed(0),
      (of('cpuMicroseconds') / cpuOfCeiling).toFixed(2),
      of('p50').toFixed(1),
      of('p99').toFixed(1),
      of('residentMegabytes').toFixed(0),
      String(all.reduce((sum, measured) => sum + measured.failures, 0)),
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return [
    '| what | requests/s | CPU µs/request | CPU against the ceiling | p50 ms | p99 ms | resident MB | failures |',
    '|---|---|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function page(report: string): string {
  return `# Benchmarks

Client credentials, ES256 JWTs of one resource. The server is one Node process pinned to one core; the load comes from another core over ${CONNECTIONS} connections, closed loop. Medians of ${ROUNDS} rounds of ${SECONDS} s, contestants in turn. Gatehouse has hashed secrets, PostgreSQL on disk, and writes an audit event before each answer; the CPU time is that of the Node process.

${report}

The **ceiling** is the least that a token server on Koa must do: read the form, one hash, one ES256 signature. The **bare library** is oidc-provider with one static client in memory, without audit.

${cpus()[0]?.model ?? 'Unknown processor'}, ${cpus().length} cores; Node ${process.version}. Machines differ and are noisy: compare within one run. To repeat: \`npm run bench\` (Linux, two cores or more).
`;
}
