/**
 * One logger for the process: JSON lines, with what must not be read struck out wherever it turns up. A development
 * server that was started on a terminal writes readable lines instead, and leaves out those that come with each request.
 */
import { pino, type DestinationStream, type Logger } from 'pino';
import { readableLines } from './log/readable_lines.ts';
import { StandardOutput } from './log/standard_output.ts';

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
export function createLog(level: string, destination: DestinationStream = openOutput(), base: object = {}): Logger {
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

/** A log on standard output, and what else a process of a node needs to know of it. */
export interface NodeLog {
  readonly log: Logger;
  /** How many lines could not be written and were dropped. */
  readonly linesDropped: () => number;
  /** Prints what is no line of the log, in its place among them. */
  readonly print: (text: string) => void;
}

interface LogSettings {
  readonly logLevel: string;
  readonly production: boolean;
  readonly workers: number;
}

/** For a process of a node. `worker` is the number of one of several workers, which all write to one pipe. */
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

/** A person reads along: each line is written at once. */
const LINE_BY_LINE = { gatherBytes: 0, writeBytes: 16_384 };
/** A pipe takes up to 4096 bytes (PIPE_BUF of Linux) in one piece: what others write never falls between. */
const WHOLE_ON_A_PIPE = { gatherBytes: 4_000, writeBytes: 4_096 };

function openOutput(size = { gatherBytes: 8_192, writeBytes: 16_384 }): StandardOutput {
  const output = new StandardOutput(size);
  process.once('exit', () => output.flushSync());
  return output;
}
