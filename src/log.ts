/**
 * One logger for the process: JSON lines, with what must not be read struck out wherever it turns up. A development
 * server that was started on a terminal writes readable lines instead, and leaves out those that come with each request.
 */
import { pino, type DestinationStream, type Logger } from 'pino';
import { readableLines } from './base/readable_lines.ts';

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

/**
 * Readable lines on `destination`, for a terminal; JSON lines where pino-pretty is not installed. Audit events, of which
 * there is one or more for a request, are lines of the level debug here.
 */
export function createTerminalLog(level: string, destination: DestinationStream, base: object = {}): Logger {
  const readable = readableLines();
  const log = createLog(level, readable ? { write: (line) => destination.write(readable(line)) } : destination, base);
  log.onChild = (child) => {
    if (child.bindings()['stream'] === 'audit' && !log.isLevelEnabled('debug')) child.level = 'warn';
  };
  return log;
}

/** For a process of a node. `worker` is the number of one of several workers, which all write to one pipe. */
export function createNodeLog({ logLevel, production }: LogSettings, worker?: number): Logger {
  const base = worker === undefined ? {} : { worker };
  // a person reads along: each line is written at once
  if (!production && process.stdout.isTTY) return createTerminalLog(logLevel, standardOutput({ minLength: 0 }), base);
  return createLog(logLevel, standardOutput(worker === undefined ? undefined : WHOLE_ON_A_PIPE), base);
}

interface LogSettings {
  readonly logLevel: string;
  readonly production: boolean;
}

/** A pipe takes up to 4096 bytes (PIPE_BUF of Linux) in one piece: what others write never falls between. */
const WHOLE_ON_A_PIPE = { minLength: 4_000, maxWrite: 4_096 };

/** A write for each line would cost a busy server more than most of what it does: lines leave together, soon. */
function standardOutput(size: { minLength: number; maxWrite?: number } = { minLength: 8_192 }): DestinationStream {
  const output = pino.destination({ dest: 1, sync: true, periodicFlush: 100, ...size });
  process.once('exit', () => output.flushSync());
  return output;
}
