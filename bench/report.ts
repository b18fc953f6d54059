/** Formats the measurements as a page, with medians over the rounds. */
import { cpus } from 'node:os';

export interface Measured {
  readonly perSecond: number;
  readonly cpuMicroseconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
  readonly residentMegabytes: number;
}

export function table(rounds: ReadonlyMap<string, readonly Measured[]>): string {
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
    '| what | a second | CPU µs | CPU against the ceiling | p50 ms | p99 ms | resident MB | failures |',
    '|---|---|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

interface Settings {
  readonly ROUNDS: number;
  readonly SECONDS: number;
  readonly CONNECTIONS: number;
}

export function page(report: string, { ROUNDS, SECONDS, CONNECTIONS }: Settings): string {
  return `# Benchmarks

ES256 JWTs of one resource. The server is one Node process pinned to one core; the load comes from another core over ${CONNECTIONS} connections, closed loop. Medians of ${ROUNDS} rounds of ${SECONDS} s, contestants in turn. Gatehouse has 5,000 confidential clients with hashed secrets, used at random, PostgreSQL on disk (as it is after a while: its log goes into files that are there already), limits and metrics on, and writes an audit event before each answer; the CPU time is that of the Node process.

${report}

The **ceiling** is the least that a token server on Koa must do: read the form, one hash, one ES256 signature. The **bare library** is oidc-provider with one static client in memory, without audit.

${cpus()[0]?.model ?? 'Unknown processor'}, ${cpus().length} cores; Node ${process.version}. Machines differ and are noisy: compare within one run. To repeat: \`npm run bench\` (Linux, two cores or more).
`;
}
