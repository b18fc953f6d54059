import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

for (const path of ['', '/tenant']) {
  describe(`a request target that is no path, where the issuer's path is '${path}'`, () => {
    let gatehouse: Gatehouse;
    before(async () => {
      gatehouse = await startGatehouse({ path });
    });
    after(() => gatehouse.stop());

    for (const target of [
      'http://[/',
      'http://evil.example:99999999/token',
      'http://evil.example/',
      '//evil.example/',
      '*',
    ]) {
      it(`is the caller's mistake: ${target}`, async () => {
        const answer = await send(
          gatehouse.url,
          `OPTIONS ${target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n`,
        );
        assert.match(answer, /^HTTP\/1\.1 4\d\d /);
        assert.doesNotMatch(answer, /evil/);
      });
    }
  });
}

async function send(url: string, text: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.write(text);
  await once(socket, 'close');
  return Buffer.concat(chunks).toString();
}
