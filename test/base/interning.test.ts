import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { InternedLists } from '../../src/base/interning.ts';

describe('lists that many have alike', () => {
  const lists = new InternedLists();

  it('are one in memory', () => {
    const first = lists.share([{ resource: 'https://api.example.com', scopes: ['notes:read'] }]);
    assert.equal(lists.share([{ resource: 'https://api.example.com', scopes: ['notes:read'] }]), first);
    assert.notEqual(lists.share([{ resource: 'https://api.example.com', scopes: ['notes:write'] }]), first);
  });

  it('are no objects, since they may be written to, and no long ones', () => {
    const [keys, long] = [() => ({ keys: [{ kty: 'EC' }] }), () => ['x'.repeat(1_000)]];
    assert.notEqual(lists.share(keys()), lists.share(keys()));
    assert.notEqual(lists.share(long()), lists.share(long()));
  });
});
