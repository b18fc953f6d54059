/** Closed-loop load over plain sockets: cheap enough that one core of it can saturate a server on another. */
import { connect, type Socket } from 'node:net';

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly failures: number;
  /** In milliseconds, sorted. */
  readonly latencies: Float64Array;
}

/** Sends the requests in turn on each of `connections` sockets for `seconds`; whatever is not a 200 is a failure. */
export async function load(
  port: number,
  requests: readonly Buffer[],
  connections: number,
  seconds: number,
): Promise<LoadResult> {
  const latencies: number[] = [];
  let failures = 0;
  let next = 0;
  const began = performance.now();
  const end = began + seconds * 1000;

  await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      const answers = readAnswers(socket);
      while (performance.now() < end) {
        const sentAt = performance.now();
        socket.write(requests[next++ % requests.length]!);
        const status = await answers.next();
        latencies.push(performance.now() - sentAt);
        if (status !== 200) failures++;
      }
      socket.destroy();
    }),
  );
  return {
    requests: latencies.length,
    seconds: (performance.now() - began) / 1000,
    failures,
    latencies: Float64Array.from(latencies).sort(),
  };
}

/** Reads one answer at a time: status line, headers up to the blank line, a body of Content-Length bytes. */
function readAnswers(socket: Socket): { next(): Promise<number> } {
  let pending = Buffer.alloc(0);
  let waiting: { resolve: (status: number) => void; reject: (error: Error) => void } | undefined;
  socket.on('data', (chunk) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    const headEnd = pending.indexOf('\r\n\r\n');
    if (headEnd === -1) return;
    const head = pending.toString('latin1', 0, headEnd);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (pending.length < headEnd + 4 + length) return;
    pending = pending.subarray(headEnd + 4 + length);
    const answered = waiting;
    waiting = undefined;
    answered?.resolve(Number(head.slice(9, 12)));
  });
  const fail = (): void => waiting?.reject(new Error('The server closed the connection.'));
  socket.on('error', fail);
  socket.on('close', fail);
  return { next: () => new Promise((resolve, reject) => (waiting = { resolve, reject })) };
}

/** A token request as bytes, ready to send again and again. */
export function tokenRequest(client: { readonly id: string; readonly secret: string }, body: string): Buffer {
  const basic = Buffer.from(`${encodeURIComponent(client.id)}:${encodeURIComponent(client.secret)}`).toString('base64');
  return Buffer.from(
    `POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic ${basic}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
}
