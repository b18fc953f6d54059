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

/** Writes to standard output unless told otherwise. */
export function createLog(level: string, destination: DestinationStream = standardOutput()): Logger {
  const options = {
    level,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: STRUCK_OUT, censor: '[secret]' },
    serializers: { error: pino.stdSerializers.err },
  };
  return pino(options, destination);
}

/** A write for each line would cost a busy server more than most of what it does: lines leave together, soon. */
function standardOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: true, minLength: 8_192, periodicFlush: 100 });
  process.once('exit', () => output.flushSync());
  return output;
}
