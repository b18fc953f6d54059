/**
 * Lines for standard output that never hold up the process. A full disk, a closed pipe or a reader that has stalled
 * costs lines, which are counted, and nothing else: no write blocks the event loop, and none throws.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';

export interface StandardOutputSettings {
  /** Lines leave together: as soon as there are so many bytes, or after `FLUSH_MILLISECONDS`. */
  readonly gatherBytes: number;
  /** How many bytes one write may have. A longer line has a write to itself. */
  readonly writeBytes: number;
  /** The file descriptor; 1 unless told otherwise. */
  readonly descriptor?: number;
}

/** A write for each line would cost a busy server more than most of what it does. */
const FLUSH_MILLISECONDS = 100;
/** What waits while nothing can be written: some 200 lines. Lines that come after them are dropped. */
const WAITING_BYTES_AT_MOST = 128 * 1024;
const LAST_FLUSH_MILLISECONDS = 500;
const LAST_FLUSH_STEP_MILLISECONDS = 10;

export class StandardOutput {
  readonly #gatherBytes: number;
  readonly #writeBytes: number;
  readonly #descriptor: number;
  /** Whole lines, gathered into writes; of the first the beginning may have been written. */
  readonly #writes: Buffer[] = [];
  #gathered = '';
  #gatheredBytes = 0;
  #gatheredLines = 0;
  readonly #linesOf = new WeakMap<Buffer, number>();
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;
  #droppedAndUntold = 0;
  #tellDropped: (lines: number) => void = () => {};

  constructor({ gatherBytes, writeBytes, descriptor = 1 }: StandardOutputSettings) {
    this.#gatherBytes = gatherBytes;
    this.#writeBytes = writeBytes;
    this.#descriptor = withoutBlocking(descriptor);
  }

  /** How many lines were dropped since the process began. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Called with the number of lines that were dropped, each time that writing works again. */
  onRecovered(tellDropped: (lines: number) => void): void {
    this.#tellDropped = tellDropped;
  }

  /** Takes one line, or a text of several that belong together, with the line end. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    if (this.#waitingBytes + bytes > WAITING_BYTES_AT_MOST) return this.#drop(1);
    if (this.#gatheredBytes + bytes > this.#writeBytes) this.#close();
    this.#gathered += line;
    this.#gatheredBytes += bytes;
    this.#gatheredLines++;
    this.#waitingBytes += bytes;
    // while the one before can't be written, another try for each line would be worth nothing
    if (this.#gatheredBytes >= this.#gatherBytes && this.#writes.length === 0) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_MILLISECONDS).unref();
  }

  /** Writes what can be written now. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#close();
    this.#writeAll();
    if (this.#writes.length > 0) this.#timer = setTimeout(() => this.flush(), FLUSH_MILLISECONDS).unref();
  }

  /** The same before the process ends: waits for a reader that is late, for half a second at most. */
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
    if (!works || this.#droppedAndUntold === 0) return;
    const lines = this.#droppedAndUntold;
    this.#droppedAndUntold = 0;
    this.#tellDropped(lines);
  }

  /** `undefined` where nothing can be written now. */
  #tryToWrite(buffer: Buffer): number | undefined {
    try {
      return writeSync(this.#descriptor, buffer);
    } catch (error) {
      // with nobody to read them, what was said so far is of no use to a reader that comes later
      if (!WAITS.has(String((error as NodeJS.ErrnoException).code))) this.#forget();
      return undefined;
    }
  }

  #forget(): void {
    for (const buffer of this.#writes.splice(0)) this.#drop(this.#linesOf.get(buffer)!);
    this.#waitingBytes = this.#gatheredBytes;
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#droppedAndUntold += lines;
  }
}

/** What passes: a reader that is late, a disk on which there may be room again. */
const WAITS = new Set(['EAGAIN', 'ENOSPC', 'EDQUOT', 'EINTR', 'EBUSY']);

/** Kept, since with them their descriptors would be closed. */
const kept: Socket[] = [];

/**
 * The descriptor of the same pipe, terminal or socket for writing without waiting. Where the system can open it anew
 * (Linux), the other processes that write to it go on as they were.
 */
function withoutBlocking(descriptor: number): number {
  try {
    const kind = fstatSync(descriptor);
    if (kind.isFile() || kind.isDirectory()) return descriptor;
    const again = kind.isSocket() ? undefined : reopened(descriptor);
    if (again !== undefined) return again;
    kept.push(new Socket({ fd: descriptor, readable: false, writable: true }).on('error', () => {}).unref());
  } catch {
    // it is closed, or of a kind that Node does not know: each write will say so
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
    // no /proc, or no reader any more
  }
  return undefined;
}
