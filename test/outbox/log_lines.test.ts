import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FaultLog } from '../../src/base/fault_log.ts';
import { openMailRoom } from '../support/node/outbox.ts';
import { eventually } from '../support/node/operator.ts';
import { closeOutside, egressTo, NAME, startOutside } from '../support/network/outside_server.ts';

const HOUR = 3_600_000;
const MESSAGES = { begins: 'failed', goesOn: 'still_fails', ends: 'works_again' };

describe('the log of faults', () => {
  const scene = () => {
    const lines: [level: string, message: string, times: unknown][] = [];
    let now = 0;
    const write =
      (level: string) =>
      (fields: object, message: string): void => {
        lines.push([level, message, 'times' in fields ? fields.times : undefined]);
      };
    const log = { debug: () => {}, info: write('info'), warn: write('warn') };
    const faults = new FaultLog(log, MESSAGES, () => now);
    return { faults, lines, pass: (milliseconds: number) => void (now += milliseconds) };
  };

  it('has one line for a place that begins to fail, one an hour with a count, and one when it works again (FIELD-B12)', () => {
    const { faults, lines, pass } = scene();
    for (let minute = 0; minute < 125; minute++) {
      for (let message = 0; message < 94; message++) faults.failed('receiver', {});
      pass(60_000);
    }
    faults.worked('receiver', {});
    faults.worked('receiver', {});
    assert.deepEqual(lines, [
      ['warn', 'failed', undefined],
      ['warn', 'still_fails', 60 * 94 + 1],
      ['warn', 'still_fails', 120 * 94 + 1],
      ['info', 'works_again', 125 * 94],
    ]);
  });

  it('tells places apart (FIELD-B12)', () => {
    const { faults, lines, pass } = scene();
    faults.failed('a', {});
    faults.failed('b', {});
    faults.worked('a', {});
    pass(HOUR);
    faults.failed('a', {});
    assert.deepEqual(
      lines.map(([, message]) => message),
      ['failed', 'failed', 'works_again', 'failed'],
    );
  });
});

describe('a receiver that is down', () => {
  it('is one line of the outbox and one of the way out, however many messages wait, and one each when it is back (FIELD-B12)', async () => {
    const room = await openMailRoom();
    try {
      let isDown = true;
      const receiver = await startOutside((_, response) => (isDown ? response.destroy() : response.end()));
      for (let count = 0; count < 94; count++) await room.write(`https://${NAME}:${receiver.port}/logout`);
      const limits = { failuresInARow: 10_000 };
      const { egress, log } = egressTo([receiver], { limits });
      const retries = { attemptsAtMost: 10_000, firstWaitSeconds: 0.01, longestWaitSeconds: 0.01 };
      room.node({ egress, kind: { retries } });
      await eventually(async () => receiver.requests.length >= 20, 20_000);
      const shown = (lines: readonly string[]): string[] =>
        lines
          .map((line) => JSON.parse(line) as { level: string; msg: string })
          .filter(({ level, msg }) => level !== 'debug' && msg !== 'outbox.delivered')
          .map(({ msg }) => msg)
          .slice(0, 5);
      assert.deepEqual([shown(room.log), shown(log)], [['outbox.postponed'], ['egress.failed']]);
      isDown = false;
      await eventually(async () => shown(room.log).length > 1, 20_000);
      assert.deepEqual(shown(room.log), ['outbox.postponed', 'outbox.delivers_again']);
      assert.deepEqual(shown(log), ['egress.failed', 'egress.works_again']);
    } finally {
      await room.stop();
      closeOutside();
    }
  });
});
