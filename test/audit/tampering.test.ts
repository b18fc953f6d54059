import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { sql } from 'kysely';
import { hashOf, type Entry, type Link } from '../../src/audit/chain.ts';
import {
  exportOf,
  keysOf,
  problemIn,
  problemOf,
  proofIn,
  startWatched,
  tamper,
} from '../support/node/audit_evidence.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('the evidence of the audit trail', () => {
  let gatehouse: Gatehouse;
  beforeEach(async () => {
    gatehouse = await startWatched();
  });
  afterEach(() => gatehouse.stop());

  const entries = (event: string): Promise<Entry[]> =>
    gatehouse.database
      .selectFrom('audit_events')
      .selectAll()
      .where('event', '=', event)
      .orderBy('occurred_at')
      .execute() as unknown as Promise<Entry[]>;
  /** The stream that tokens of this node are recorded in, from the one that has most of them. */
  const laneEntries = async (): Promise<Entry[]> => {
    const issued = await entries('token.issued');
    const counts = Map.groupBy(issued, ({ stream }) => stream);
    return [...counts.values()].sort((a, b) => b.length - a.length)[0]!;
  };
  const says = async (pattern: RegExp): Promise<void> => assert.match(await problemOf(gatehouse), pattern);

  for (const moment of ['before', 'after'] as const) {
    describe(`names what was tampered with ${moment} a checkpoint was made`, () => {
      beforeEach(async () => {
        if (moment === 'after') await exportOf(gatehouse);
      });

      it('a detail that was changed', async () => {
        const [entry] = await entries('client.created');
        await tamper(
          gatehouse.database,
          sql`update audit_events set details = details || '{"client_name":"Innocent"}' where stream = ${entry!.stream} and sequence = ${entry!.sequence}`,
        );
        await says(
          new RegExp(`^Entry ${entry!.sequence} of stream ${entry!.stream} \\(client\\.created, .+ was changed\\.$`),
        );
      });

      it('a time that was changed by less than the clock can tell', async () => {
        const [entry] = await entries('client.updated');
        await tamper(
          gatehouse.database,
          sql`update audit_events set occurred_at = occurred_at + interval '7 microseconds' where stream = ${entry!.stream} and sequence = ${entry!.sequence}`,
        );
        await says(/\(client\.updated, .+007Z\) was changed\.$/);
      });

      it('a row that was deleted', async () => {
        const entry = (await laneEntries())[2]!;
        await tamper(
          gatehouse.database,
          sql`delete from audit_events where stream = ${entry.stream} and sequence = ${entry.sequence}`,
        );
        await says(
          new RegExp(
            `^Entry ${entry.sequence} of stream ${entry.stream} was removed; the link that lists it begins at 20`,
          ),
        );
      });

      it('the last rows of a stream, deleted with their links', async () => {
        const cut = (await laneEntries())[1]!;
        const link = await sql<{
          number: number;
        }>`select number from audit_links where stream = ${cut.stream} and first_sequence > ${cut.sequence} order by number limit 1`.execute(
          gatehouse.database,
        );
        await tamper(
          gatehouse.database,
          sql`delete from audit_events where stream = ${cut.stream} and sequence > ${cut.sequence}`,
          sql`delete from audit_links where stream = ${cut.stream} and number >= ${link.rows[0]!.number}`,
        );
        await says(new RegExp(`^Links? ${link.rows[0]!.number}( to \\d+)? of stream ${cut.stream} (was|were) removed`));
      });

      it('a whole stream that was deleted', async () => {
        const [entry] = await entries('client.created');
        await tamper(
          gatehouse.database,
          sql`delete from audit_events where stream = ${entry!.stream}`,
          sql`delete from audit_links where stream = ${entry!.stream}`,
        );
        await says(new RegExp(`^Links? 1.* of stream ${entry!.stream} (was|were) removed`));
      });

      it('two rows that changed places', async () => {
        const [one, , other] = await laneEntries();
        const swap = (from: number, to: number) =>
          sql`update audit_events set sequence = ${to} where stream = ${one!.stream} and sequence = ${from}`;
        await tamper(
          gatehouse.database,
          swap(one!.sequence, 9_999),
          swap(other!.sequence, one!.sequence),
          swap(9_999, other!.sequence),
        );
        await says(new RegExp(`^Entry ${one!.sequence} of stream ${one!.stream} .+ was changed\\.$`));
      });

      it('an entry and its link, and all links after it made anew, without the key', async () => {
        const entry = (await laneEntries())[1]!;
        await tamper(
          gatehouse.database,
          sql`update audit_events set client_id = 'client_somebody_else' where stream = ${entry.stream} and sequence = ${entry.sequence}`,
        );
        await makeLinksAnew(entry.stream);
        await says(
          new RegExp(`of stream ${entry.stream} .+ was changed, and what follows it was made anew: checkpoint \\d+`),
        );
      });

      it('a checkpoint that was deleted', async () => {
        await exportOf(gatehouse);
        await requestToken(gatehouse.url, gatehouse.demo);
        await exportOf(gatehouse);
        await tamper(gatehouse.database, sql`delete from audit_checkpoints where number = 2`);
        await says(/^Checkpoint 2 was removed with all that it covers: from 20/);
      });
    });
  }

  /** Hashes what stands there now, from the first link of the stream to its last. */
  async function makeLinksAnew(stream: string): Promise<void> {
    const text = await exportOf(gatehouse);
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const all = lines.filter((line) => line['stream'] === stream && 'event' in line) as unknown as Entry[];
    let previous: string | null = null;
    for (const { link } of lines as { link?: Link }[]) {
      if (link?.stream !== stream) continue;
      const hashes = link.entries.map((_, i) => hashOf(all.find(({ sequence }) => sequence === link.first + i)!));
      const bytes = Buffer.concat(hashes.map((hash) => Buffer.from(hash, 'base64url')));
      await tamper(
        gatehouse.database,
        sql`update audit_links set entries = ${bytes}, previous = ${previous && Buffer.from(previous, 'base64url')}
          where stream = ${stream} and number = ${link.number}`,
      );
      previous = hashOf({ ...link, previous, entries: hashes });
    }
  }

  describe('names what was added', () => {
    const forged = (
      stream: string,
      sequence: number,
    ) => sql`insert into audit_events (stream, sequence, occurred_at, event,
      outcome, actor_type, details) values (${stream}, ${sequence}, ${new Date()}, 'client.restored', 'success', 'system', '{}')`;
    const STREAM = '00000000-0000-4000-8000-000000000000';

    it('a row in a stream of its own', async () => {
      await forged(STREAM, 1).execute(gatehouse.database);
      await says(new RegExp(`^Entry 1 of stream ${STREAM} \\(client.restored, .+ was added`));
    });

    it('a row at the end of a stream', async () => {
      const [entry] = await entries('client.created');
      await forged(entry!.stream, 77).execute(gatehouse.database);
      await says(new RegExp(`^Entry 77 of stream ${entry!.stream} \\(client.restored, .+ was added`));
    });

    it('a row beside the true one of its number', async () => {
      const [entry] = await entries('client.created');
      await forged(entry!.stream, entry!.sequence).execute(gatehouse.database);
      await says(/client.restored, .+ was added: the link that covers its number lists another one/);
    });

    it('a row with a link that no node has sealed', async () => {
      await forged(STREAM, 1).execute(gatehouse.database);
      await sql`insert into audit_links (stream, number, first_sequence, begins_at, entries, seal)
        values (${STREAM}, 1, 1, ${new Date()}, ${Buffer.alloc(32, 1)}, ${Buffer.alloc(32, 2)})`.execute(
        gatehouse.database,
      );
      await says(new RegExp(`^Entry 1 of stream ${STREAM} .+ was added`));
      assert.ok(gatehouse.log.some((line) => line.includes('audit.link_forged')));
    });

    it('a row with a link that claims to be under a checkpoint', async () => {
      await exportOf(gatehouse);
      await forged(STREAM, 1).execute(gatehouse.database);
      await sql`insert into audit_links (stream, number, first_sequence, begins_at, entries, seal, checkpoint)
        values (${STREAM}, 1, 1, ${new Date()}, ${Buffer.alloc(32, 1)}, ${Buffer.alloc(32, 2)}, 1)`.execute(
        gatehouse.database,
      );
      await says(new RegExp(`^Entry 1 of stream ${STREAM} .+ was added`));
    });

    it('a checkpoint that another key signed', async () => {
      const other = await startGatehouse();
      try {
        await exportOf(other);
        const [theirs] = await other.database.selectFrom('audit_checkpoints').selectAll().execute();
        await exportOf(gatehouse);
        await tamper(gatehouse.database, sql`update audit_checkpoints set jws = ${theirs!.jws} where number = 1`);
        await says(/^The first checkpoint was changed or added: it was not signed by a key that you trust/);
      } finally {
        await other.stop();
      }
    });
  });

  it('is missed when the database is set back to an earlier day while a node runs', async () => {
    await exportOf(gatehouse);
    await requestToken(gatehouse.url, gatehouse.demo);
    await exportOf(gatehouse);
    const [last] = await gatehouse.database
      .selectFrom('audit_checkpoints')
      .selectAll()
      .orderBy('number', 'desc')
      .limit(1)
      .execute();
    await tamper(
      gatehouse.database,
      sql`delete from audit_checkpoints where number = ${last!.number}`,
      sql`delete from audit_events where (stream, sequence) in (select l.stream, l.first_sequence from audit_links l where checkpoint = ${last!.number})`,
      sql`delete from audit_links where checkpoint = ${last!.number}`,
    );
    await says(new RegExp(`^Checkpoint ${last!.number} was removed with all that it covers`));
  });

  it('is missed when an auditor knows a checkpoint that is not there any more', async () => {
    const text = await exportOf(gatehouse);
    const keys = await keysOf(gatehouse);
    const said = await proofIn(text, keys);
    await proofIn(text, keys, said.last!.hash);
    assert.match(await problemIn(text, keys, 'a'.repeat(43)), /There is no checkpoint a+/);
  });
});
