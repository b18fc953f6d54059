import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { accessOf } from '../../src/resources/resource.ts';

describe('a scope', () => {
  it('reads only if its name or an admin says so', () => {
    for (const name of ['notes:read', 'read', 'files.readonly', 'orders.list', 'users/view', 'mail.Read'])
      assert.equal(accessOf({ name }), 'read', name);
    for (const name of ['notes:write', 'notes', 'spread', 'read_write', 'read:all-and-write', 'budget', 'reader'])
      assert.equal(accessOf({ name }), 'write', name);
    assert.equal(accessOf({ name: 'notes:read', access: 'write' }), 'write');
    assert.equal(accessOf({ name: 'notes', access: 'read' }), 'read');
  });
});
