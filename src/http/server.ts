/** An HTTP server with bounds on time and size, that stops without dropping a request. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { once } from 'node:events';
import { CannotStart } from '../base/cannot_start.ts';

const HEADER_BYTES = 16_384;

export function createHttpServer(listener: RequestListener): Server {
  const server = createServer(
    { maxHeaderSize: HEADER_BYTES, headersTimeout: 10_000, requestTimeout: 15_000, keepAliveTimeout: 65_000 },
    listener,
  );
  server.maxHeadersCount = 100;
  server.maxRequestsPerSocket = 0;
  return server;
}

/** The address can't be listened on, as one sentence. */
export class CannotListen extends CannotStart {}

export async function listen(server: Server, host: string, port: number): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new CannotListen(`Port ${port} on ${host} is taken by another program.`, { cause: error });
    if (code === 'EACCES') throw new CannotListen(`This user may not listen on port ${port}.`, { cause: error });
    throw new CannotListen(`Can't listen on ${host}:${port}: ${message}.`, { cause: error });
  }
}

/** Takes no new connections, lets requests under way finish, and cuts what is left when the time is over. */
export async function drain(server: Server, graceMilliseconds: number): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  // a connection that was busy a moment ago is idle now, and its client may never speak again
  const sweep = setInterval(() => server.closeIdleConnections(), 50);
  const cut = setTimeout(() => server.closeAllConnections(), graceMilliseconds);
  await closed;
  clearInterval(sweep);
  clearTimeout(cut);
}
