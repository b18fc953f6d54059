import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { combineReadiness } from '../../src/http/management.ts';

const well = { ready: true, checks: { database: 'ok', egress: 'ok' } };
const resting = { ready: true, checks: { database: 'ok', egress: '1 of the places outside rests' } };
const without = { ready: false, checks: { database: 'not reachable', egress: 'ok' } };

describe('the readiness of several processes', () => {
  it('has the answer of each of them at each check', () => {
    const { ready, checks } = combineReadiness([well, resting, well]);
    assert.deepEqual({ ready, checks }, resting);
  });

  it('says no when one says no, with its reasons before those of the others', () => {
    const away = { ready: true, checks: { database: 'away, serving known clients for 240 s more', egress: 'ok' } };
    const { ready, checks } = combineReadiness([away, resting, without]);
    assert.equal(ready, false);
    assert.deepEqual(checks, { database: 'not reachable', egress: '1 of the places outside rests' });
  });

  it('says no without any process, or with one that does not answer', () => {
    assert.equal(combineReadiness([]).ready, false);
    const mute = { ready: false, checks: { worker: 'does not answer' } };
    assert.deepEqual(combineReadiness([well, mute]), { ready: false, checks: { ...mute.checks, ...well.checks } });
  });
});
