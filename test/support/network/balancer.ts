/**
 * A load balancer as operators run them: it keeps connections to its nodes, streams bodies, and takes a node that failed
 * out for a while (Caddy's `fail_duration`), also when the sender was at fault.
 */
import { once } from 'node:events';
import { Agent, createServer, request as ask, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Balancer {
  readonly port: number;
  /** Why nodes were taken out, each time. */
  readonly failures: readonly string[];
  stop(): void;
}

interface Node {
  readonly port: number;
  underWay: number;
  outUntil: number;
}

const OUT_MILLISECONDS = 2_000;
const HEADER_BYTES_AT_MOST = 1024 * 1024;

/** Balances among servers on these ports of this machine. */
export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  const nodes = ports.map((port): Node => ({ port, underWay: 0, outUntil: 0 }));
  const failures: string[] = [];
  const agent = new Agent({ keepAlive: true });
  const server = createServer(
    { maxHeaderSize: HEADER_BYTES_AT_MOST, joinDuplicateHeaders: true },
    (incoming, outgoing) => {
      const node = leastBusy(nodes);
      if (!node) {
        outgoing.writeHead(503).end();
        return;
      }
      forward(node, agent, incoming, outgoing, (error) => {
        node.outUntil = performance.now() + OUT_MILLISECONDS;
        failures.push(`${incoming.method} ${incoming.url?.slice(0, 50)}: ${String(error)}`);
      });
    },
  );
  server.on('clientError', (_, socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    failures,
    stop() {
      server.close();
      server.closeAllConnections();
      agent.destroy();
    },
  };
}

function leastBusy(nodes: readonly Node[]): Node | undefined {
  const now = performance.now();
  return nodes.filter(({ outUntil }) => outUntil <= now).toSorted((a, b) => a.underWay - b.underWay)[0];
}

function forward(
  node: Node,
  agent: Agent,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  onFailure: (error: Error) => void,
): void {
  const { method, url, headers } = incoming;
  const { connection: _, ...kept } = headers;
  const outward = ask({
    agent,
    host: '127.0.0.1',
    port: node.port,
    method,
    path: url,
    headers: kept,
    maxHeaderSize: HEADER_BYTES_AT_MOST,
  });
  node.underWay++;
  outward.on('close', () => node.underWay--);
  outward.on('response', (answer) => {
    const { connection: __, 'keep-alive': ___, ...passed } = answer.headers;
    outgoing.writeHead(answer.statusCode ?? 502, passed);
    answer.on('error', () => outgoing.destroy());
    answer.pipe(outgoing);
  });
  outward.on('error', (error) => {
    if (incoming.errored || outgoing.headersSent || outgoing.destroyed) return;
    onFailure(error);
    outgoing.writeHead(502).end();
  });
  // a client that goes away takes its request with it, which is no failure of the node
  incoming.on('error', () => outward.destroy());
  incoming.pipe(outward);
}
