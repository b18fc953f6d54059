/** A standby that follows a cluster by streaming replication, over a network that can be cut, and its promotion. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster, Way } from './unreachable_database.ts';
import type { Gatehouse } from './gatehouse.ts';
import { eventually } from './operator.ts';

export class Standby {
  readonly cluster: Cluster;
  readonly #primary: Cluster;
  readonly #network: Way;

  private constructor(cluster: Cluster, primary: Cluster, network: Way) {
    this.cluster = cluster;
    this.#primary = primary;
    this.#network = network;
  }

  /** Asynchronous: the primary waits for nothing that the standby does. The primary is restarted for the copy. */
  static async of(primary: Cluster): Promise<Standby> {
    const folder = await mkdtemp(join(tmpdir(), 'gatehouse-standby-'));
    await primary.copyTo(folder);
    await writeFile(join(folder, 'postgres/standby.signal'), '');
    const network = await Way.to(primary);
    try {
      const from = `host=127.0.0.1 port=${network.port} user=gatehouse`;
      const cluster = await Cluster.open(folder, [`primary_conninfo=${from}`, 'wal_retrieve_retry_interval=100ms']);
      return new Standby(cluster, primary, network);
    } catch (error) {
      network.close();
      throw error;
    }
  }

  /** Resolves when it has all that the primary has. */
  async hasCaughtUp(): Promise<void> {
    const primary = await this.#primary.connect();
    const standby = await this.cluster.connect();
    try {
      const { rows } = await primary.query<{ end: string }>('select pg_current_wal_flush_lsn()::text as end');
      await eventually(async () => {
        const answer = await standby.query<{ there: boolean }>(
          'select pg_last_wal_replay_lsn() >= $1::pg_lsn as there',
          [rows[0]!.end],
        );
        return answer.rows[0]!.there;
      });
    } finally {
      await primary.end();
      await standby.end();
    }
  }

  /** From now on it lacks what the primary does. */
  cutOff(): void {
    this.#network.shut();
  }

  /** It becomes a database of its own, which is the caller's from then on. */
  async promote(): Promise<Cluster> {
    await this.cluster.run('select pg_promote(true)');
    this.#network.close();
    return this.cluster;
  }
}

/** Resolves when the node has the database again, and serves nothing from memory. */
export function hasItsDatabase({ managementUrl }: Pick<Gatehouse, 'managementUrl'>): Promise<void> {
  return eventually(async () => {
    const answer = await fetch(`${managementUrl}/readyz`);
    const { checks } = (await answer.json()) as { checks: Record<string, string> };
    return answer.ok && checks['database'] === 'ok';
  }, 30_000);
}
