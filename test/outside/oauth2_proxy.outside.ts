import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { OutsideClients, SCOPE } from '../support/client/outside_clients.ts';
import { goProgram, WITHOUT_GO } from '../support/network/outside_builds.ts';
import { eventually } from '../support/node/operator.ts';
import type { Environment } from '../support/node/process.ts';

describe('oauth2-proxy 7.15', { skip: WITHOUT_GO }, () => {
  let clients: OutsideClients;
  let program: string;
  let protectedApplication: Server;
  before(async () => {
    program = await goProgram('oauth2_proxy', { program: 'github.com/oauth2-proxy/oauth2-proxy/v7' });
    clients = await OutsideClients.start();
    protectedApplication = createServer(({ headers }, response) => response.end(JSON.stringify(headers)));
    await once(protectedApplication.listen(0, '127.0.0.1'), 'listening');
  });
  after(async () => {
    protectedApplication.close();
    await clients.stop();
  });

  const command = ({ ISSUER, ORIGIN = '', CLIENT_ID, CLIENT_SECRET, SCOPE: scope }: Environment) => [
    program,
    '--provider=oidc',
    `--oidc-issuer-url=${ISSUER}`,
    `--client-id=${CLIENT_ID}`,
    `--client-secret=${CLIENT_SECRET}`,
    `--scope=${scope}`,
    '--code-challenge-method=S256',
    `--http-address=${ORIGIN.slice('http://'.length)}`,
    `--redirect-url=${ORIGIN}/oauth2/callback`,
    `--upstream=http://127.0.0.1:${(protectedApplication.address() as AddressInfo).port}`,
    `--cookie-secret=${randomBytes(16).toString('hex')}`,
    '--cookie-secure=false',
    '--cookie-refresh=1s',
    '--email-domain=*',
    '--skip-provider-button=true',
    '--pass-access-token=true',
  ];
  const callback = '/oauth2/callback';
  /** What the application behind the proxy is told of the person, and what userinfo says to the token that it is given. */
  const read = async (text: string) => {
    const headers = JSON.parse(text) as Readonly<Record<string, string>>;
    const token = headers['x-forwarded-access-token'] ?? assert.fail(text);
    return { email: headers['x-forwarded-email'], got: await clients.readUserinfo(token) };
  };

  it('logs a person in beside an API with ML-DSA, and refreshes the token for an API and userinfo (FIELD-C1, FIELD-C4)', async () => {
    const application = await clients.run(command, { callback });
    const { text, person } = await clients.open(application);
    const first = await read(text);
    let second = first;
    await eventually(async () => {
      second = await read((await clients.open(application, '/', person)).text);
      return second.got.access_token !== first.got.access_token;
    });
    const { email } = clients.gatehouse.account;
    assert.deepEqual([first.email, second.email], [email, email]);
    clients.expectBoth([first.got, second.got]);
  });

  it('asks userinfo for the address that a minimal ID token lacks (FIELD-C1, FIELD-C15)', async () => {
    const metadata = { id_token_claims: 'minimal' };
    const { text } = await clients.open(await clients.run(command, { callback, metadata }));
    assert.equal((await read(text)).email, clients.gatehouse.account.email);
  });

  it('may send its scopes with two spaces (FIELD-C10)', async () => {
    const environment = { SCOPE: SCOPE.replace(' ', '  ') };
    const { text } = await clients.open(await clients.run(command, { callback, environment }));
    clients.expectBoth([(await read(text)).got]);
  });
});
