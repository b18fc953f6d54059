/** One logger for the process: JSON lines, with what must not be read struck out wherever it turns up. */
import { pino, type DestinationStream, type Logger } from 'pino';

export type { Logger };

const STRUCK_OUT = [
  'password',
  'client_secret',
  'secret',
  'token',
  'access_token',
  'refresh_token',
  'id_token',
  'client_assertion',
  'code',
  'code_verifier',
  'authorization',
  'cookie',
].flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);

/** Writes to standard output unless told otherwise. `base` is in every line, beside the process's id. */
export function createLog(level: string, destination: DestinationStream = standardOutput(), base: object = {}): Logger {
  const options = {
    level,
    base: { pid: process.pid, ...base },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: STRUCK_OUT, censor: '[secret]' },
    serializers: { error: pino.stdSerializers.err },
  };
  return pino(options, destination);
}

/** One of several workers, which all write to one pipe: `worker` is its number. */
export function createLogOfWorker(level: string, worker: number): Logger {
  return createLog(level, standardOutput(WHOLE_ON_A_PIPE), { worker });
}

/** A pipe takes up to 4096 bytes (PIPE_BUF of Linux) in one piece: what others write never falls between. */
const WHOLE_ON_A_PIPE = { minLength: 4_000, maxWrite: 4_096 };

/** A write for each line would cost a busy server more than most of what it does: lines leave together, soon. */
function standardOutput(size: { minLength: number; maxWrite?: number } = { minLength: 8_192 }): DestinationStream {
  const output = pino.destination({ dest: 1, sync: true, periodicFlush: 100, ...size });
  process.once('exit', () => output.flushSync());
  return output;
}
