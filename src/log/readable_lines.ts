/** Formats log lines for a terminal, if the development dependency pino-pretty is installed. */
import { createRequire } from 'node:module';
import type * as pinoPretty from 'pino-pretty';

export type Readable = (line: string) => string;

/** `undefined` if pino-pretty is not installed, as in a production image. */
export function readableLines(): Readable | undefined {
  try {
    const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as typeof pinoPretty;
    return prettyFactory({
      colorize: true,
      ignore: 'pid,stream',
      translateTime: 'SYS:HH:MM:ss',
      singleLine: true,
    }) as Readable;
  } catch {
    return undefined;
  }
}
