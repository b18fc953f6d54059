/**
 * Checks the login behind a token (RFC 9470): `undefined` if it is enough, or the WWW-Authenticate header of a 401 that
 * tells the application what to ask for. `claims` are those of a verified token.
 */
export function demandLogin(claims, { acrValues = [], maxAgeSeconds }, now = Date.now() / 1000) {
  const strong = acrValues.length === 0 || acrValues.includes(claims.acr);
  const recent = maxAgeSeconds === undefined || now - (claims.auth_time ?? 0) <= maxAgeSeconds;
  if (strong && recent) return undefined;
  const demands = [
    'error="insufficient_user_authentication"',
    'error_description="This needs a more recent or a stronger login"',
    ...(acrValues.length > 0 ? [`acr_values="${acrValues.join(' ')}"`] : []),
    ...(maxAgeSeconds === undefined ? [] : [`max_age="${maxAgeSeconds}"`]),
  ];
  return `Bearer ${demands.join(', ')}`;
}
