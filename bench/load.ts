/** Generates load over plain sockets, at so low a cost that one core can saturate a server on another. */
import { connect, type Socket } from 'node:net';
import type { Answer, Conversation } from './conversations.ts';

export interface LoadResult {
  readonly units: number;
  readonly seconds: number;
  readonly failures: number;
  /** The latency of each unit in milliseconds, sorted. */
  readonly latencies: Float64Array;
}

/** Runs each conversation on its own connection for `seconds`; a request follows the previous response. */
export async function closedLoop(
  port: number,
  conversations: readonly Conversation[],
  seconds: number,
): Promise<LoadResult> {
  const latencies: number[] = [];
  let failures = 0;
  const began = performance.now();
  const end = began + seconds * 1000;
  await Promise.all(
    conversations.map(async (conversation) => {
      const connection = open(port);
      while (performance.now() < end) {
        const sentAt = performance.now();
        if (!(await converse(connection, conversation))) failures++;
        latencies.push(performance.now() - sentAt);
      }
      connection.socket.destroy();
    }),
  );
  return result(latencies, failures, began);
}

/** Starts units at a steady rate, even if earlier ones are not done. Latency includes the wait for a connection. */
export async function openLoop(
  port: number,
  conversations: readonly Conversation[],
  { perSecond, seconds }: { readonly perSecond: number; readonly seconds: number },
): Promise<LoadResult> {
  const idle = conversations.map((conversation) => ({ conversation, connection: open(port) }));
  const all = [...idle];
  const due: number[] = [];
  const latencies: number[] = [];
  let failures = 0;
  let running = 0;
  let sent = 0;
  const began = performance.now();
  const serve = (): void => {
    while (due.length > 0 && idle.length > 0) {
      // uses the connections in turn, because a server closes idle ones
      const one = idle.shift()!;
      const since = due.shift()!;
      running++;
      void converse(one.connection, one.conversation).then((succeeded) => {
        if (!succeeded) failures++;
        latencies.push(performance.now() - since);
        running--;
        idle.push(one);
        serve();
      });
    }
  };
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const now = performance.now();
      const elapsed = (now - began) / 1000;
      for (; sent < Math.min(elapsed, seconds) * perSecond; sent++) due.push(began + (sent / perSecond) * 1000);
      serve();
      if (elapsed < seconds || running > 0 || due.length > 0) return;
      clearInterval(timer);
      resolve();
    }, 1);
  });
  for (const { connection } of all) connection.socket.destroy();
  return result(latencies, failures, began);
}

function result(latencies: readonly number[], failures: number, began: number): LoadResult {
  const seconds = (performance.now() - began) / 1000;
  return { units: latencies.length, seconds, failures, latencies: Float64Array.from(latencies).sort() };
}

/** Runs one unit: all its requests, each after the previous response. */
async function converse({ socket, answers }: Connection, conversation: Conversation): Promise<boolean> {
  let request: Buffer | undefined = conversation.begin();
  let expected = true;
  while (request) {
    socket.write(request);
    const answer = await answers.next();
    expected &&= conversation.expects(answer);
    request = expected ? conversation.nextRequest(answer) : undefined;
  }
  return expected;
}

interface Connection {
  readonly socket: Socket;
  readonly answers: { next(): Promise<Answer> };
}

function open(port: number): Connection {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  return { socket, answers: readAnswers(socket) };
}

/** Reads one response at a time: status line, headers up to the blank line, a body of Content-Length bytes. */
function readAnswers(socket: Socket): { next(): Promise<Answer> } {
  let pending = Buffer.alloc(0);
  let waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;
  socket.on('data', (chunk) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    const headEnd = pending.indexOf('\r\n\r\n');
    if (headEnd === -1) return;
    const head = pending.toString('latin1', 0, headEnd);
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (pending.length < headEnd + 4 + length) return;
    const body = pending.toString('latin1', headEnd + 4, headEnd + 4 + length);
    pending = pending.subarray(headEnd + 4 + length);
    const answered = waiting;
    waiting = undefined;
    answered?.resolve({ status: Number(head.slice(9, 12)), head, body });
  });
  const fail = (): void => waiting?.reject(new Error('The server closed the connection.'));
  socket.on('error', fail);
  socket.on('close', fail);
  return {
    next: () =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        if (socket.destroyed) fail();
      }),
  };
}
