/** A database that can be taken away: a PostgreSQL of the test's own, and a way to it that can be shut, held up or slowed. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { startEmbedded, type Embedded } from '../../../src/db/embedded.ts';
import { migrateToLatest } from '../../../src/db/migrate.ts';

export const CONNECTIONS_AT_MOST = 30;
const SETTINGS = ['fsync=off', 'full_page_writes=off', `max_connections=${CONNECTIONS_AT_MOST}`];
/** Little write-ahead log, so that most of what a small disk holds is tables. */
const SMALL_DISK = ['min_wal_size=32MB', 'max_wal_size=32MB', 'wal_recycle=on', 'max_connections=30'];
const SMALL_DISK_MEGABYTES = 192;

export class Cluster {
  readonly #folder: string;
  readonly #settings: readonly string[];
  readonly #unmount: () => Promise<void>;
  #embedded: Embedded;

  private constructor(
    folder: string,
    embedded: Embedded,
    settings: readonly string[] = SETTINGS,
    unmount: () => Promise<void> = () => Promise.resolve(),
  ) {
    this.#folder = folder;
    this.#embedded = embedded;
    this.#settings = settings;
    this.#unmount = unmount;
  }

  static async start(): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'gatehouse-faults-'));
    const cluster = new Cluster(folder, await startEmbedded(folder, SETTINGS));
    await migrateToLatest(cluster.url);
    return cluster;
  }

  /** A folder that holds a cluster already, `<folder>/postgres`; it is removed at the end. */
  static async open(folder: string, settings: readonly string[] = []): Promise<Cluster> {
    const all = [...SETTINGS, ...settings];
    return new Cluster(folder, await startEmbedded(folder, all), all);
  }

  /** On a disk of its own that is soon full; throws where this user may not mount one. */
  static async startOnSmallDisk(): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'gatehouse-disk-'));
    const run = promisify(execFile);
    try {
      await run('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_MEGABYTES}m,mode=0755`, 'gatehouse-test', folder]);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
    const unmount = async (): Promise<void> => void (await run('umount', [folder]));
    try {
      const cluster = new Cluster(folder, await startEmbedded(folder, SMALL_DISK), SMALL_DISK, unmount);
      await migrateToLatest(cluster.url);
      return cluster;
    } catch (error) {
      await unmount();
      throw error;
    }
  }

  /** Other files take the free space of the disk. */
  async fillDisk(): Promise<void> {
    const file = await open(join(this.#folder, 'filler'), 'w');
    try {
      const chunk = Buffer.alloc(65_536);
      for (;;) await file.write(chunk);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      await file.close();
    }
  }

  async makeRoom(): Promise<void> {
    await rm(join(this.#folder, 'filler'));
  }

  get url(): string {
    return this.#embedded.url;
  }

  /** Copies the cluster to `<folder>/postgres`, while it is stopped. */
  async copyTo(folder: string): Promise<void> {
    await this.#embedded.stop();
    await copyCluster(this.#folder, folder);
    await this.startAgain();
  }

  /** Puts the copy in the place of what is there, as an operator does who has nothing newer. */
  async setBackTo(folder: string): Promise<void> {
    await this.#embedded.stop();
    await rm(join(this.#folder, 'postgres'), { recursive: true });
    await copyCluster(folder, this.#folder);
    await this.startAgain();
  }

  /** As a power cut would: no goodbye to anyone. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** What Postgres calls an immediate shutdown: it has to recover afterwards. */
  async stopImmediately(): Promise<void> {
    await this.#end('SIGQUIT');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const pid = Number.parseInt(readFileSync(join(this.#folder, 'postgres/postmaster.pid'), 'utf8'), 10);
    process.kill(pid, signal);
    await this.#embedded.exited;
  }

  async startAgain(): Promise<void> {
    this.#embedded = await startEmbedded(this.#folder, this.#settings);
  }

  async restart(): Promise<void> {
    await this.#embedded.stop();
    await this.startAgain();
  }

  /** As the operator, on a direct connection that is never cut off. */
  async run(...statements: string[]): Promise<void> {
    const client = await this.connect();
    for (const statement of statements) await client.query(statement);
    await client.end();
  }

  async connect(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.url, application_name: 'operator' });
    client.on('error', () => {});
    await client.connect();
    return client;
  }

  async stop(): Promise<void> {
    await this.#embedded.stop();
    await this.#unmount();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Owners and modes stay: where the tests run as root, PostgreSQL does not. */
async function copyCluster(from: string, to: string): Promise<void> {
  await promisify(execFile)('cp', ['-a', join(from, 'postgres'), join(to, 'postgres')]);
}

/** Parts of the statements that a node sends periodically, without any request. */
const BY_ITSELF = [
  'transaction_read_only',
  'from "changes"',
  'join changes',
  'from outbox',
  'update client_secrets s set last_used_at',
];

/** TCP in front of the socket of a cluster, or of any other PostgreSQL. */
export class Way {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** How much later than sent everything arrives, in milliseconds; Infinity: not while it stays so. */
  #delay = 0;
  #shut = false;
  #mute = false;
  #muteAt: string | undefined;
  #socketPath: string;
  #roundTrips = 0;

  private constructor(cluster: Pick<Cluster, 'url'>) {
    this.#socketPath = socketPath(cluster);
    this.#server = createServer((inside) => {
      if (this.#shut) return void inside.destroy();
      const outside = createConnection(this.#socketPath);
      this.#count(inside, outside);
      this.#join(inside, outside, (bytes) => {
        if (this.#muteAt !== undefined && bytes.includes(this.#muteAt)) this.mute();
        return false;
      });
      this.#join(outside, inside, () => this.#mute);
    });
  }

  static async to(cluster: Pick<Cluster, 'url'>): Promise<Way> {
    const way = new Way(cluster);
    way.#server.listen(0, '127.0.0.1');
    await once(way.#server, 'listening');
    return way;
  }

  url(cluster: Pick<Cluster, 'url'>): string {
    const url = new URL(cluster.url);
    url.search = '';
    url.hostname = '127.0.0.1';
    url.port = String(this.port);
    return url.href;
  }

  /**
   * How often a node has asked something and waited for the answer, without what it does by itself: its looks at whether
   * the database is there, and what it reads of the change log. It can be told while answers are late: what is sent until the first of them arrives is one round trip.
   */
  get roundTrips(): number {
    return this.#roundTrips;
  }

  /** Nothing is closed, and nothing arrives. */
  hold(): void {
    this.#delay = Infinity;
  }

  /** Statements are carried out, and their results are dropped. */
  mute(): void {
    this.#mute = true;
  }

  /** The same from the moment in which this text is asked: that is done, too. */
  muteAt(text: string): void {
    this.#muteAt = text;
  }

  slowDown(milliseconds: number): void {
    this.#delay = milliseconds;
  }

  shut(): void {
    this.#shut = true;
    this.#end();
  }

  open(): void {
    this.#shut = false;
    // what was held is lost, as it is when a network comes back with another memory of who was connected
    if (this.#delay === Infinity || this.#mute) this.#end();
    this.#delay = 0;
    this.#mute = false;
    this.#muteAt = undefined;
  }

  /** From now on it leads there; open connections are cut off. */
  leadTo(cluster: Cluster): void {
    this.#socketPath = socketPath(cluster);
    this.#end();
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#end();
    this.#server.close();
  }

  #end(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #count(inside: Socket, outside: Socket): void {
    let answered = true;
    inside.on('data', (bytes) => {
      if (answered && !BY_ITSELF.some((words) => bytes.includes(words))) this.#roundTrips++;
      answered = false;
    });
    // at the time when the node receives it
    outside.on('data', () => void setTimeout(() => (answered = true), this.#delay === Infinity ? 0 : this.#delay));
  }

  #join(from: Socket, to: Socket, isLost: (bytes: Buffer) => boolean): void {
    this.#sockets.add(from);
    from.on('data', (bytes) => {
      if (this.#delay === Infinity || isLost(bytes)) return;
      if (this.#delay === 0) to.write(bytes);
      else setTimeout(() => to.write(bytes), this.#delay).unref();
    });
    from.on('error', () => {});
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}

function socketPath(cluster: Pick<Cluster, 'url'>): string {
  const { searchParams, port } = new URL(cluster.url);
  return `${searchParams.get('host')}/.s.PGSQL.${port || '5432'}`;
}
