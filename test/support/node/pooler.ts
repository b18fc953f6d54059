/**
 * A pooler in front of PostgreSQL, as PgBouncer is one: it takes few startup parameters, tells clients a process number
 * of its own, and gives each transaction, or each client, a server connection. The real one runs in test/outside.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

const PROTOCOL = 196_608;
const SSL_REQUEST = 80_877_103;
/** Those that PgBouncer takes by default. */
const TAKEN = ['user', 'database', 'client_encoding', 'application_name', 'datestyle', 'timezone'];

export class Pooler {
  mode: 'session' | 'transaction' = 'session';
  readonly #target: URL;
  readonly #server: Server;
  readonly #idle: ServerConnection[] = [];
  readonly #sockets = new Set<Socket>();

  private constructor(target: URL, server: Server) {
    this.#target = target;
    this.#server = server;
  }

  static async before(databaseUrl: string): Promise<Pooler> {
    const server = createServer();
    const pooler = new Pooler(new URL(databaseUrl), server);
    server.on('connection', (socket) => {
      pooler.#keep(socket);
      void pooler.#serve(socket).catch(() => socket.destroy());
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return pooler;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `postgres://${this.#target.username}@127.0.0.1:${port}${this.#target.pathname}`;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    // each message is a write of its own
    socket.setNoDelay();
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
  }

  async #serve(client: Socket): Promise<void> {
    const reader = new Frames(client);
    let startup = await reader.startup();
    if (startup.readInt32BE(4) === SSL_REQUEST) {
      client.write('N');
      startup = await reader.startup();
    }
    const parameters = startup.subarray(8).toString().split('\0').slice(0, -2);
    const foreign = parameters.find((name, index) => index % 2 === 0 && !TAKEN.includes(name.toLowerCase()));
    if (foreign !== undefined) {
      client.end(frame('E', text('SFATAL', 'C08P01', `Munsupported startup parameter: ${foreign}`, '')));
      return;
    }
    const first = await this.#take();
    client.write(first.greeting);
    await this.#relay(client, reader, first);
  }

  /** Passes frames on both ways; between transactions the client may lose its server connection. */
  async #relay(client: Socket, reader: Frames, first: ServerConnection): Promise<void> {
    let server: ServerConnection | undefined = first;
    let unanswered = 0;
    const release = (): void => {
      if (server) this.#idle.push(server);
      server = undefined;
    };
    const answer = (message: Buffer): void => {
      client.write(message);
      if (message[0] !== 'Z'.charCodeAt(0)) return;
      unanswered--;
      const isIdle = message[5] === 'I'.charCodeAt(0);
      if (this.mode === 'transaction' && isIdle && unanswered === 0) release();
    };
    if (this.mode === 'transaction') release();
    else server.onFrame = answer;
    client.on('close', () => server?.socket.destroy());
    for (;;) {
      const message = await reader.next();
      const type = String.fromCharCode(message[0]!);
      if (type === 'X') break;
      if (!server) {
        server = await this.#take();
        server.onFrame = answer;
      }
      if (type === 'Q' || type === 'S') unanswered++;
      server.socket.write(message);
    }
    client.end();
  }

  /** The one that was used last, as PgBouncer does it, or a new one. */
  async #take(): Promise<ServerConnection> {
    for (let idle = this.#idle.pop(); idle; idle = this.#idle.pop()) if (!idle.socket.destroyed) return idle;
    const folder = this.#target.searchParams.get('host');
    const socket = folder?.startsWith('/')
      ? createConnection(join(folder, `.s.PGSQL.${this.#target.port || 5432}`))
      : createConnection(Number(this.#target.port || 5432), this.#target.hostname);
    this.#keep(socket);
    const parameters = text('user', this.#target.username, 'database', this.#target.pathname.slice(1), '');
    const head = Buffer.alloc(8);
    head.writeInt32BE(parameters.length + 8);
    head.writeInt32BE(PROTOCOL, 4);
    socket.write(Buffer.concat([head, parameters]));
    return new Promise((resolve, reject) => {
      const server: ServerConnection = { socket, greeting: Buffer.alloc(0), onFrame: greet };
      const parts: Buffer[] = [];
      function greet(message: Buffer): void {
        const type = String.fromCharCode(message[0]!);
        if (type === 'E') reject(new Error(message.toString()));
        // the number that a client could cancel with is the pooler's own
        parts.push(type === 'K' ? frame('K', randomBytes(8)) : message);
        if (type !== 'Z') return;
        server.greeting = Buffer.concat(parts);
        resolve(server);
      }
      const frames = new Frames(socket);
      void (async () => {
        for (;;) {
          const message = await frames.next();
          server.onFrame(message);
        }
      })().catch(reject);
    });
  }
}

interface ServerConnection {
  readonly socket: Socket;
  /** What it said of itself after the login. */
  greeting: Buffer;
  onFrame: (message: Buffer) => void;
}

/** The messages of one side of a connection. */
class Frames {
  readonly #socket: Socket;
  #bytes = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      socket.emit('more');
    });
  }

  /** The first message has no type. */
  startup(): Promise<Buffer> {
    return this.#take(0);
  }

  next(): Promise<Buffer> {
    return this.#take(1);
  }

  async #take(lengthAt: number): Promise<Buffer> {
    for (;;) {
      const length = this.#bytes.length >= lengthAt + 4 ? this.#bytes.readInt32BE(lengthAt) + lengthAt : Infinity;
      if (this.#bytes.length >= length) {
        const message = this.#bytes.subarray(0, length);
        this.#bytes = this.#bytes.subarray(length);
        return message;
      }
      if (this.#socket.destroyed) throw new Error('The connection has ended.');
      await Promise.race([once(this.#socket, 'more'), once(this.#socket, 'close')]);
    }
  }
}

function frame(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function text(...parts: readonly string[]): Buffer {
  return Buffer.from(parts.map((part) => `${part}\0`).join(''));
}
