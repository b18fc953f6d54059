/**
 * Creates the process's logger: JSON lines in which secrets are replaced. A development server on a terminal writes
 * readable lines instead, without those that come with each request.
 */
import { pino, type DestinationStream, type Logger } from 'pino';
import { readableLines } from './log/readable_lines.ts';
import { StandardOutput } from './log/standard_output.ts';

export type { Logger };

const REDACTED = [
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

/**
 * Creates a logger that writes to standard output by default. Each line has the members of `base` and the process's id.
 */
export function createLog(level: string, destination: DestinationStream = openOutput(), base: object = {}): Logger {
  const options = {
    level,
    base: { pid: process.pid, ...base },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: REDACTED, censor: '[secret]' },
    serializers: { error: pino.stdSerializers.err },
  };
  return pino(options, destination);
}

/** A log on standard output, and its functions for a process of a node. */
export interface NodeLog {
  readonly log: Logger;
  /** The number of lines that could not be written and were dropped. */
  readonly linesDropped: () => number;
  /** Prints text between the lines of the log. */
  readonly print: (text: string) => void;
}

interface LogSettings {
  readonly logLevel: string;
  readonly production: boolean;
  readonly workers: number;
}

/** Creates the log of a node's process. `worker` is the number of a worker; all workers write to the same pipe. */
export function createNodeLog({ logLevel, production, workers }: LogSettings, worker?: number): NodeLog {
  const base = worker === undefined ? {} : { worker };
  const onTerminal = !production && process.stdout.isTTY;
  const output = openOutput(onTerminal ? LINE_BY_LINE : workers > 1 ? WHOLE_ON_A_PIPE : undefined);
  const log = onTerminal ? createTerminalLog(logLevel, output, base) : createLog(logLevel, output, base);
  output.onRecovered((lines) => log.warn({ lines }, 'log.lines_dropped'));
  const print = (text: string): void => {
    output.write(text);
    output.flush();
  };
  return { log, linesDropped: () => output.dropped, print };
}

/**
 * Writes readable lines for a terminal, or JSON lines if pino-pretty is not installed. Audit events, of which each
 * request has at least one, are logged at level debug here.
 */
export function createTerminalLog(level: string, destination: DestinationStream, base: object = {}): Logger {
  const readable = readableLines();
  const log = createLog(level, readable ? { write: (line) => destination.write(readable(line)) } : destination, base);
  log.onChild = (child) => {
    if (child.bindings()['stream'] === 'audit' && !log.isLevelEnabled('debug')) child.level = 'warn';
  };
  return log;
}

/** For a person who watches the terminal: each line is written at once. */
const LINE_BY_LINE = { gatherBytes: 0, writeBytes: 16_384 };
/**
 * A pipe takes up to 4096 bytes (PIPE_BUF on Linux) in one piece, so lines of other processes never come in between.
 */
const WHOLE_ON_A_PIPE = { gatherBytes: 4_000, writeBytes: 4_096 };

function openOutput(size = { gatherBytes: 8_192, writeBytes: 16_384 }): StandardOutput {
  const output = new StandardOutput(size);
  process.once('exit', () => output.flushSync());
  return output;
}
