/** Writes a JSON value as canonical text (RFC 8785, JCS), so that every reader of the value hashes the same bytes. */
import { hash } from 'node:crypto';

/** Sorts members by their UTF-16 code units, writes no white space; numbers and strings as in JSON.stringify. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  let text = '';
  for (const name of Object.keys(value).sort()) {
    const member = (value as Record<string, unknown>)[name];
    if (member === undefined) continue;
    text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${canonical(member)}`;
  }
  return `{${text}}`;
}

export function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
