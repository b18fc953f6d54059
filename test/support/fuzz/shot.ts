/** One request, byte by byte, and what must hold of the answer to any request. */
import { connect } from 'node:net';
import { INJECTED_HEADER, MARKUP } from './values.ts';

export type Header = readonly [name: string, value: string];

export interface Shot {
  readonly method: string;
  readonly target: string;
  /** As they go over the wire, in this order. */
  readonly headers: readonly Header[];
  readonly body: Buffer;
  /** The body is not what its headers announce: the connection ends after it, or the server would wait for the rest. */
  readonly breaksOff?: boolean;
}

export interface Answer {
  /** `undefined` where the connection ended without one. */
  readonly status: number | undefined;
  readonly head: string;
  readonly body: string;
  readonly milliseconds: number;
}

const PATIENCE_MS = 12_000;
export function bytesOf({ method, target, headers, body }: Shot): Buffer {
  const lines = [`${method} ${target} HTTP/1.1`, ...headers.map(([name, value]) => `${name}: ${value}`), '', ''];
  return Buffer.concat([Buffer.from(lines.join('\r\n'), 'latin1'), body]);
}

/** Sends the bytes on a connection of their own, and reads to its end; throws when that takes too long. */
export function send(port: number, bytes: Buffer, breaksOff = false): Promise<Answer> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(bytes);
      if (breaksOff) setTimeout(() => socket.end(), 50);
    });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no end after ${PATIENCE_MS} ms: ${Buffer.concat(chunks).toString().slice(0, 200)}`));
    }, PATIENCE_MS);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    // cut while it still sends: the part that arrived is the answer
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      const text = Buffer.concat(chunks).toString();
      const end = text.indexOf('\r\n\r\n');
      const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
      resolve({
        status: status === undefined ? undefined : Number(status),
        head: end < 0 ? text : text.slice(0, end),
        body: end < 0 ? '' : unchunked(text.slice(0, end), text.slice(end + 4)),
        milliseconds: performance.now() - began,
      });
    });
  });
}

/** The chunks' lengths are left out; no body of ours looks like one. */
function unchunked(head: string, body: string): string {
  return /^transfer-encoding: *chunked/im.test(head) ? body.replaceAll(/(^|\r\n)[0-9a-f]+\r\n/gi, '').trim() : body;
}

/** What is wrong with an answer; nothing, as a rule. */
export function complaintsAbout({ status, head, body }: Answer): string[] {
  if (status === undefined) return [];
  const complaints: string[] = [];
  const say = (wrong: boolean, complaint: string): void => void (wrong && complaints.push(complaint));
  const type = /^content-type: *([^;\r\n]*)/im.exec(head)?.[1]?.toLowerCase() ?? '';
  say(status >= 500, `status ${status}`);
  say(new RegExp(`^${INJECTED_HEADER}:`, 'im').test(head), 'a header of the request’s making');
  say(type === 'text/html' && body.includes(MARKUP), 'markup that came with the request');
  say(/node_modules|\bat [^\n]{1,200}\.[cm]?[jt]s:\d+|file:\/\/|\/src\/[a-z_/]+\.ts/.test(body), 'a stack or a path');
  say(/error: syntax|relation "|duplicate key|violates|ECONNREFUSED/i.test(body), 'words of the database');
  if (status >= 400 && status < 500)
    say(!isExplained(status, type, body), `an error of no known shape: ${type} ${body.slice(0, 100)}`);
  return complaints;
}

function isExplained(status: number, type: string, body: string): boolean {
  // HEAD has headers alone, a challenge is in them (RFC 6750, 3.1), and what is no HTTP gets no more from Node
  if (body === '') return true;
  if (type === 'text/html') return body.includes('<h1>');
  const json = parse(body);
  if (type === 'application/problem+json') return typeof json?.['type'] === 'string' && json['status'] === status;
  return type === 'application/json' && typeof json?.['error'] === 'string';
}

function parse(body: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(body) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
