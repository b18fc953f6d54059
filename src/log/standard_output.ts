/**
 * Writes lines to standard output without blocking the process. With a full disk, a closed pipe or a stalled reader,
 * lines are lost and counted: no write blocks the event loop, and none throws.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';

export interface StandardOutputSettings {
  /** Lines are written together: at this number of bytes, or after `FLUSH_MILLISECONDS`. */
  readonly gatherBytes: number;
  /** The maximum number of bytes of one write. A longer line has its own write. */
  readonly writeBytes: number;
  /** The file descriptor; 1 by default. */
  readonly descriptor?: number;
}

/** Lines are gathered, because on a busy server a write for each line takes more time than most other work. */
const FLUSH_MILLISECONDS = 100;
/** The size of the buffer for lines that wait, about 200 lines. Lines beyond it are dropped. */
const WAITING_BYTES_AT_MOST = 128 * 1024;
const LAST_FLUSH_MILLISECONDS = 500;
const LAST_FLUSH_STEP_MILLISECONDS = 10;

export class StandardOutput {
  readonly #gatherBytes: number;
  readonly #writeBytes: number;
  readonly #descriptor: number;
  /** Whole lines, gathered into writes. The beginning of the first write may have been written. */
  readonly #writes: Buffer[] = [];
  #gathered = '';
  #gatheredBytes = 0;
  #gatheredLines = 0;
  readonly #linesOf = new WeakMap<Buffer, number>();
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;
  #droppedAndUnreported = 0;
  #reportDropped: (lines: number) => void = () => {};

  constructor({ gatherBytes, writeBytes, descriptor = 1 }: StandardOutputSettings) {
    this.#gatherBytes = gatherBytes;
    this.#writeBytes = writeBytes;
    this.#descriptor = withoutBlocking(descriptor);
  }

  /** The number of dropped lines since the process began. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Calls `reportDropped` with the number of dropped lines each time writing works again. */
  onRecovered(reportDropped: (lines: number) => void): void {
    this.#reportDropped = reportDropped;
  }

  /** Writes one line, or several lines that belong together. `line` includes the line end. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    if (this.#waitingBytes + bytes > WAITING_BYTES_AT_MOST) return this.#drop(1);
    if (this.#gatheredBytes + bytes > this.#writeBytes) this.#close();
    this.#gathered += line;
    this.#gatheredBytes += bytes;
    this.#gatheredLines++;
    this.#waitingBytes += bytes;
    // while an earlier write is blocked, another attempt for each line is useless
    if (this.#gatheredBytes >= this.#gatherBytes && this.#writes.length === 0) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_MILLISECONDS).unref();
  }

  /** Writes as much as possible now. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#close();
    this.#writeAll();
    if (this.#writes.length > 0) this.#timer = setTimeout(() => this.flush(), FLUSH_MILLISECONDS).unref();
  }

  /** Writes all lines before the process ends; waits up to half a second for a slow reader. */
  flushSync(): void {
    const until = performance.now() + LAST_FLUSH_MILLISECONDS;
    const pause = new Int32Array(new SharedArrayBuffer(4));
    for (;;) {
      this.flush();
      if (this.#writes.length === 0 || performance.now() > until) return;
      Atomics.wait(pause, 0, 0, LAST_FLUSH_STEP_MILLISECONDS);
    }
  }

  #close(): void {
    if (this.#gatheredLines === 0) return;
    const buffer = Buffer.from(this.#gathered);
    this.#linesOf.set(buffer, this.#gatheredLines);
    this.#writes.push(buffer);
    this.#gathered = '';
    this.#gatheredBytes = 0;
    this.#gatheredLines = 0;
  }

  #writeAll(): void {
    let works = false;
    for (let [next] = this.#writes; next; [next] = this.#writes) {
      const written = this.#tryToWrite(next);
      if (written === undefined) return;
      works = true;
      this.#waitingBytes -= written;
      if (written < next.length) {
        const rest = next.subarray(written);
        this.#linesOf.set(rest, this.#linesOf.get(next)!);
        this.#writes[0] = rest;
      } else this.#writes.shift();
    }
    if (!works || this.#droppedAndUnreported === 0) return;
    const lines = this.#droppedAndUnreported;
    this.#droppedAndUnreported = 0;
    this.#reportDropped(lines);
  }

  /** Returns the number of bytes written; `undefined` if nothing can be written now. */
  #tryToWrite(buffer: Buffer): number | undefined {
    try {
      return writeSync(this.#descriptor, buffer);
    } catch (error) {
      // the reader is gone, and a later reader has no use for the waiting lines
      if (!TEMPORARY_ERRORS.has(String((error as NodeJS.ErrnoException).code))) this.#forget();
      return undefined;
    }
  }

  #forget(): void {
    for (const buffer of this.#writes.splice(0)) this.#drop(this.#linesOf.get(buffer)!);
    this.#waitingBytes = this.#gatheredBytes;
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#droppedAndUnreported += lines;
  }
}

/** Errors after which a later write may succeed: a slow reader, a full disk. */
const TEMPORARY_ERRORS = new Set(['EAGAIN', 'ENOSPC', 'EDQUOT', 'EINTR', 'EBUSY']);

/** References to the sockets, because garbage collection would close their descriptors. */
const kept: Socket[] = [];

/**
 * Returns a non-blocking descriptor of the same pipe, terminal or socket. If the system can reopen it (Linux), other
 * processes that write to it are not affected.
 */
function withoutBlocking(descriptor: number): number {
  try {
    const kind = fstatSync(descriptor);
    if (kind.isFile() || kind.isDirectory()) return descriptor;
    const again = kind.isSocket() ? undefined : reopened(descriptor);
    if (again !== undefined) return again;
    kept.push(new Socket({ fd: descriptor, readable: false, writable: true }).on('error', () => {}).unref());
  } catch {
    // the descriptor is closed, or of a kind that Node.js does not support: each write fails with that error
  }
  return descriptor;
}

function reopened(descriptor: number): number | undefined {
  try {
    const opened = openSync(
      `/proc/self/fd/${descriptor}`,
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
    );
    if (fstatSync(opened).ino === fstatSync(descriptor).ino) return opened;
    closeSync(opened);
  } catch {
    // there is no /proc, or the pipe has no reader
  }
  return undefined;
}
