import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { METHODS } from '../../src/oidc/request/routes.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('another spelling of a documented path', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  const paths = [...Object.keys(METHODS), '/authorize/some-interaction'];
  const spellings = paths.flatMap((path) => [
    path.toUpperCase(),
    `${path}/`,
    `/${path[1]!.toUpperCase()}${path.slice(2)}`,
  ]);
  for (const path of new Set(spellings.filter((spelling) => !paths.includes(spelling)))) {
    // a limit that knows the documented path alone would not see these requests
    it(`is not found: ${path}`, async () => {
      const answer = await fetch(`${gatehouse.url}${path}`, {
        method: 'POST',
        redirect: 'manual',
        body: new URLSearchParams({ a: 'b' }),
      });
      assert.equal(answer.status, 404);
    });
  }
});
