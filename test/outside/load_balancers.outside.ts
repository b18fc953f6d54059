import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, connect, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { postForm } from '../support/node/gatehouse.ts';
import { besiege, HOSTILE_REQUESTS } from '../support/client/hostile_senders.ts';
import { caddy, debian, type OutsideProgram } from '../support/network/outside_programs.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { freeAddresses, Processes, type Running } from '../support/node/process.ts';

const ROOT = join(import.meta.dirname, '../..');
/** The second node listens here, so that both can have their probes on one port, as containers have. */
const SECOND_HOST = '127.0.0.2';

interface Places {
  readonly port: number;
  readonly nodes: readonly [number, number];
  readonly probes: number;
}

interface Proxy {
  readonly name: string;
  readonly program: () => Promise<OutsideProgram>;
  /** Its configuration in this project. */
  readonly file: string;
  readonly render: (text: string, places: Places) => string;
  readonly command: (program: string, file: string, folder: string) => readonly string[];
}

const PROXIES: readonly Proxy[] = [
  {
    name: 'Caddy',
    program: caddy,
    file: 'deploy/Caddyfile',
    render: (text, { port, nodes, probes }) =>
      replaced(text, {
        '{$ISSUER}': `http://127.0.0.1:${port}`,
        '\ttls internal\n': '',
        'gatehouse-1:3000 gatehouse-2:3000': `127.0.0.1:${nodes[0]} ${SECOND_HOST}:${nodes[1]}`,
        'health_port 9000': `health_port ${probes}`,
      }),
    command: (program, file) => [program, 'run', '--adapter', 'caddyfile', '--config', file],
  },
  {
    name: 'HAProxy',
    program: () =>
      debian('haproxy', ['haproxy', 'liblua5.3-0', 'libopentracing-c-wrapper0', 'libopentracing1', 'libpcre2-8-0']),
    file: 'examples/haproxy/haproxy.cfg',
    render: (text, { port, nodes, probes }) =>
      replaced(text, {
        '127.0.0.1:8443': `127.0.0.1:${port}`,
        '127.0.0.1:3000 port 9000': `127.0.0.1:${nodes[0]} port ${probes}`,
        '127.0.0.1:3001 port 9001': `${SECOND_HOST}:${nodes[1]} port ${probes}`,
      }),
    command: (program, file) => [program, '-db', '-f', file],
  },
  {
    name: 'nginx',
    program: () => debian('nginx', ['nginx', 'libpcre2-8-0', 'zlib1g']),
    file: 'examples/nginx/load_balancer.conf',
    render: (text, { port, nodes }) =>
      replaced(text, {
        '127.0.0.1:8443': `127.0.0.1:${port}`,
        '127.0.0.1:3000': `127.0.0.1:${nodes[0]}`,
        '127.0.0.1:3001': `${SECOND_HOST}:${nodes[1]}`,
      }),
    command: (program, file, folder) => [program, '-p', folder, '-c', file],
  },
];

describe('two nodes behind the load balancers that the documentation names', () => {
  const processes = new Processes();
  const probes: Server[] = [];
  let pair: Pair;
  let folder: string;
  let places: Omit<Places, 'port'>;
  let proxy: Running | undefined;

  before(async () => {
    const open = { GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000', GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000' };
    pair = await startPair(open, [{}, { HOST: SECOND_HOST }]);
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-balancers-'));
    await mkdir(join(folder, 'temp'));
    const { managementPort } = await freeAddresses();
    const portOf = (url: string): number => Number(new URL(url).port);
    probes.push(
      await relay('127.0.0.1', managementPort, portOf(pair.a.managementUrl)),
      await relay(SECOND_HOST, managementPort, portOf(pair.b.managementUrl)),
    );
    places = { nodes: [portOf(pair.a.url), portOf(pair.b.url)], probes: managementPort };
  });
  afterEach(async () => {
    proxy?.signalGroup('SIGKILL');
    await proxy?.ended();
    proxy = undefined;
  });
  after(async () => {
    await processes.end();
    for (const probe of probes) probe.close();
    await pair.stop();
    await rm(folder, { recursive: true, force: true });
  });

  for (const { name, program, file, render, command } of PROXIES) {
    for (const senders of [1, 2]) {
      it(`${name}: ${senders === 1 ? 'one hostile sender causes' : 'two hostile senders cause'} no error for other clients (FIELD-B1)`, async (test) => {
        const { port } = await freeAddresses();
        const config = join(folder, `${name}-${senders}`);
        await writeFile(config, render(await readFile(join(ROOT, file), 'utf8'), { port, ...places }));
        const { path, environment } = await program();
        proxy = processes.spawn(command(path, config, folder), environment);
        await isServing(port);
        const others = await besiege({
          port,
          client: pair.a.demo,
          senders,
          requests: HOSTILE_REQUESTS,
          everyMilliseconds: 200,
          seconds: Number(process.env.OUTSIDE_SECONDS ?? 15),
          othersPerSecond: 50,
        });
        test.diagnostic(JSON.stringify(others));
        assert.equal(others.failed, 0);
        assert.ok(others.total > 50);
      });
    }
  }

  async function isServing(port: number): Promise<void> {
    const patience = performance.now() + 20_000;
    const ask = () =>
      postForm(`http://127.0.0.1:${port}/token`, { grant_type: 'client_credentials' }, pair.a.demo).catch(
        () => undefined,
      );
    while (!(await ask())?.ok) {
      assert.ok(performance.now() < patience, JSON.stringify(proxy?.output()));
      await delay(100);
    }
  }
});

/** Fails where one of the texts is not in the configuration any more. */
function replaced(text: string, changes: Readonly<Record<string, string>>): string {
  return Object.entries(changes).reduce((changed, [from, to]) => {
    assert.ok(changed.includes(from), `${from} is not there`);
    return changed.replaceAll(from, to);
  }, text);
}

/** Passes connections on. */
async function relay(host: string, port: number, to: number): Promise<Server> {
  const server = createServer((socket) => {
    const onward = connect(to, '127.0.0.1');
    for (const one of [socket, onward]) one.on('error', () => one.destroy());
    socket.pipe(onward).pipe(socket);
  });
  await once(server.listen(port, host), 'listening');
  return server;
}
