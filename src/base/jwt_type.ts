/**
 * Returns a JWT's `typ` in the form that can be compared: a media type has no case (RFC 2045, 5.1), and its
 * `application/` may be left out (RFC 7515, 4.1.9). Returns `undefined` for a header without `typ`, and a text that no
 * type equals for a value that is not a text.
 */
export function jwtType(typ: unknown): string | undefined {
  if (typ === undefined) return undefined;
  return typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : '';
}
