// Asks Gatehouse about the bearer token of a request (RFC 7662): nginx accepts the request after 204 and refuses it after any other status.
const AUDIENCE = 'https://api.example.com';

async function authorize(request) {
  const token = /^bearer ([\x21-\x7e]{1,8192})$/i.exec(request.headersIn.Authorization || '');
  if (!token) return refuse(request, 'Bearer');
  const answer = await request.subrequest('/_introspect', {
    method: 'POST',
    body: `token=${encodeURIComponent(token[1])}`,
  });
  if (answer.status !== 200) return request.return(500);
  const claims = JSON.parse(answer.responseText);
  // one text, or a list where the token is for userinfo too
  if (!claims.active || ![].concat(claims.aud).includes(AUDIENCE))
    return refuse(request, 'Bearer error="invalid_token"');
  request.headersOut['X-Client-Id'] = claims.client_id;
  request.headersOut['X-Subject'] = claims.sub;
  request.headersOut['X-Scope'] = claims.scope || '';
  return request.return(204);
}

function refuse(request, challenge) {
  request.headersOut['WWW-Authenticate'] = challenge;
  request.return(401);
}

export default { authorize };
