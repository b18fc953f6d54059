import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ClientMetadataShape } from '../../src/clients/metadata/client_metadata.ts';
import { RECORDED_MEMBERS } from '../../src/clients/metadata/recorded_members.ts';

/** The addresses of people: the trail says that they were changed, and not to what. */
const LEFT_OUT = ['contacts'];

describe('the values of a client that the audit trail keeps', () => {
  it('are those of every member but the ones that are left out by name (FIELD-E6)', () => {
    const decided = [...RECORDED_MEMBERS, ...LEFT_OUT].toSorted();
    assert.deepEqual(decided, Object.keys(ClientMetadataShape.shape).toSorted());
  });
});
