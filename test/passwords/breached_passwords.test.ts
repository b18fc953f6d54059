import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const BREACHED = 'this one was in a breach';
const SEEN_BEFORE = 'this one is only padding';

describe('the search for breached passwords', () => {
  let service: Server;
  let gatehouse: Gatehouse;
  let admin: Admin;
  const asked: string[] = [];
  let status = 200;
  before(async () => {
    service = createServer((request, response) => {
      asked.push(request.url ?? '');
      const lines = [`${'0'.repeat(35)}:7`, `${sha1(BREACHED).slice(5)}:3`, `${sha1(SEEN_BEFORE).slice(5)}:0`];
      response.writeHead(status, { 'content-type': 'text/plain' }).end(lines.join('\r\n'));
    });
    service.listen(0, '127.0.0.1');
    await once(service, 'listening');
    const origin = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_BREACHED_PASSWORDS_URL: `${origin}/range/`, GATEHOUSE_EGRESS_ALLOW: origin },
    });
    admin = await Admin.of(gatehouse);
  });
  after(async () => {
    await gatehouse.stop();
    service.closeAllConnections();
    service.close();
  });
  beforeEach(() => {
    asked.length = 0;
    status = 200;
  });

  it('refuses a breached password, and tells the service five digits of its SHA-1 alone', async () => {
    const answer = await make(BREACHED);
    assert.equal(answer.status, 400);
    assert.match(answer.body.errors[0]?.detail ?? '', /found in a data breach/);
    assert.deepEqual(asked, [`/range/${sha1(BREACHED).slice(0, 5)}`]);
  });

  it('allows a password that the service does not know, and one that is only padding', async () => {
    assert.equal((await make('a password that is not known')).status, 201);
    assert.equal((await make(SEEN_BEFORE)).status, 201);
    assert.equal(asked.length, 2);
  });

  it('does not ask about a password that other rules refuse', async () => {
    assert.equal((await make('passwordpassword')).status, 400);
    assert.deepEqual(asked, []);
  });

  it('allows a password if the service does not answer', async () => {
    status = 503;
    assert.equal((await make('a password while it is away')).status, 201);
    assert.equal(asked.length, 1);
    assert.ok(
      gatehouse.log.some((line) => line.includes('egress.failed')),
      'the operator learns of it',
    );
  });

  let count = 0;
  function make(password: string) {
    return admin.post('/accounts', { email: `person${count++}@example.com`, password });
  }
});

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex').toUpperCase();
}
