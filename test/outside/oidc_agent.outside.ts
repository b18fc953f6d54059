/** oidc-agent, with which people get tokens for a command line. It always adds offline_access to the scopes. */
import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { OutsideClients, SCOPE } from '../support/client/outside_clients.ts';
import { debian, WITHOUT_APT } from '../support/network/outside_programs.ts';
import { removeFolder } from '../support/node/folder.ts';
import { eventually, registerClient } from '../support/node/operator.ts';
import { freeAddresses, Processes } from '../support/node/process.ts';
import { Person } from '../support/person/person.ts';

const LIBRARIES = ['liboidc-agent4', 'libcjson1', 'libmicrohttpd12', 'libqrencode4', 'libsecret-1-0', 'libsodium23'];

describe('oidc-agent', { skip: WITHOUT_APT }, () => {
  const processes = new Processes();
  let clients: OutsideClients;
  let folder = '';
  before(async () => {
    clients = await OutsideClients.start();
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-oidc-agent-'));
  });
  after(async () => {
    await processes.end();
    await clients.stop();
    await removeFolder(folder);
  });

  it('gets a token for an API and userinfo by a login, and another one by a refresh (FIELD-C1)', async () => {
    const { gatehouse } = clients;
    const { path: agent, environment } = await debian('oidc-agent', ['oidc-agent-cli', ...LIBRARIES]);
    const socket = join(folder, 'socket');
    const its = { ...environment, OIDC_CONFIG_DIR: folder, OIDC_SOCK: socket, OIDC_ENCRYPTION_PW: 'a password' };
    const tool = (name: string): string => join(dirname(agent), name);
    const redirectUri = `http://localhost:${(await freeAddresses()).port}`;
    const client = await registerClient(gatehouse, {
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [redirectUri],
    });

    processes.spawn([agent, '--console', '--no-autoload', `--socket-path=${socket}`], its);
    await eventually(async () => (await processes.run([agent, '--status'], its)).code === 0);
    const login = processes.spawn(
      [
        tool('oidc-gen'),
        `--issuer=${gatehouse.issuer}`,
        `--client-id=${client.client_id}`,
        `--client-secret=${client.client_secret}`,
        `--redirect-uri=${redirectUri}`,
        `--scope=${SCOPE}`,
        '--flow=code',
        '--no-url-call',
        '--no-scheme',
        '--prompt=none',
        '--confirm-default',
        '--pw-env',
        'demo',
      ],
      its,
    );
    let url: string | undefined;
    await eventually(async () => {
      url = /^http\S+$/m.exec(login.output().stderr)?.[0];
      return url !== undefined;
    }, 20_000);
    const answer = await fetch(await new Person(gatehouse).authorize(url!));
    assert.match(await answer.text(), /<title>Success<\/title>/);
    assert.equal((await login.ended()).code, 0, JSON.stringify(login.output()));

    const token = async (...options: readonly string[]): Promise<string> =>
      (await processes.run([tool('oidc-token'), ...options, 'demo'], its)).stdout.trim();
    const tokens = [await token(), await token('--force-new')];
    assert.equal(new Set(tokens).size, 2);
    const got = await Promise.all(tokens.map((one) => clients.readUserinfo(one)));
    clients.expectBoth(got.map((one) => ({ ...one, scope: one.scope.replace(' offline_access', '') })));
  });
});
