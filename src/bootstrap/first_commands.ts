/** Three commands to paste after the first start: get a token, verify it, rotate the secret. */
import type { Bootstrap } from './development.ts';

const field = (path: string, expression: string): string =>
  `node -p 'const b = JSON.parse(fs.readFileSync("${path}")); ${expression}'`;
const FROM_ANSWER = `node -p 'JSON.parse(fs.readFileSync(0)).access_token'`;

/** The secrets stay in the file: what is printed may end up in a log. */
export function firstCommands(
  { issuer, admin, demo }: Bootstrap,
  file: string,
): readonly { readonly title: string; readonly command: string }[] {
  const basic = (who: 'admin' | 'demo'): string =>
    `"$(${field(file, `b.${who}.client_id + ":" + b.${who}.client_secret`)})"`;
  const verify = `import { createRemoteJWKSet, jwtVerify } from "jose"; const { payload } = await jwtVerify(process.argv[1], createRemoteJWKSet(new URL("${issuer}/jwks")), { issuer: "${issuer}", audience: "${demo.resource}" }); console.log(payload)`;
  return [
    {
      title: 'Get a token',
      command: `TOKEN=$(curl -s ${issuer}/token -u ${basic('demo')} -d grant_type=client_credentials -d scope=notes:read | ${FROM_ANSWER}); echo "$TOKEN"`,
    },
    { title: 'Verify it', command: `node --input-type=module -e '${verify}' "$TOKEN"` },
    {
      title: 'Rotate the secret, the old one good for another hour',
      command: `curl -s ${admin.resource}/clients/${demo.client_id}/secrets -H "authorization: Bearer $(curl -s ${issuer}/token -u ${basic('admin')} -d grant_type=client_credentials -d scope=secrets:rotate | ${FROM_ANSWER})" -H 'content-type: application/json' -d '{"overlap_seconds":3600}'`,
    },
  ];
}
