/** The one way to write a JSON value as text (RFC 8785, JCS), so that whoever has the value can hash the same bytes. */
import { hash } from 'node:crypto';

/** Members in the order of their UTF-16 code units, nothing between them; numbers and strings as JSON.stringify has them. */
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
