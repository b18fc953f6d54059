/** Lines of the log for a person at a terminal, where the development dependency that writes them is installed. */
import { createRequire } from 'node:module';
import type * as pinoPretty from 'pino-pretty';

export type Readable = (line: string) => string;

/** `undefined` where pino-pretty is not installed, as in an image for production. */
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
