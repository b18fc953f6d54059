/** Generates three example commands for a new server: get a token, verify it, rotate a secret. */
import type { Bootstrap } from './development.ts';

const field = (path: string, expression: string): string =>
  `node -p 'const b = JSON.parse(fs.readFileSync("${path}")); ${expression}'`;

/** Prints the token, or the server's error with exit code 1; curl itself reports a missing response. */
const TOKEN_OF_ANSWER = `node -e 'const answer = JSON.parse(fs.readFileSync(0, "utf8") || "{}"); if (answer.access_token) console.log(answer.access_token); else { if (answer.error) console.error(answer.error + ": " + answer.error_description); process.exitCode = 1 }'`;

/**
 * Returns the commands. They read the secrets from the file, because printed text may end up in a log. Each command can
 * be repeated.
 */
export function firstCommands(
  { issuer, admin, demo, throwaway }: Bootstrap,
  file: string,
): readonly { readonly title: string; readonly command: string }[] {
  const token = (who: 'admin' | 'demo', scope: string): string =>
    `$(curl -sS ${issuer}/token -u "$(${field(file, `b.${who}.client_id + ":" + b.${who}.client_secret`)})" -d grant_type=client_credentials -d scope=${scope} | ${TOKEN_OF_ANSWER})`;
  const verify = `import { createRemoteJWKSet, jwtVerify } from "jose"; try { const { payload } = await jwtVerify(process.argv[1], createRemoteJWKSet(new URL("${issuer}/jwks")), { issuer: "${issuer}", audience: "${demo.resource}" }); console.log(payload) } catch (error) { console.error(error.message); process.exitCode = 1 }`;
  return [
    { title: 'Get a token', command: `TOKEN=${token('demo', 'notes:read')} && echo "$TOKEN"` },
    { title: 'Verify it', command: `node --input-type=module -e '${verify}' "$TOKEN"` },
    {
      title: 'Rotate a secret, the old one good for another hour',
      command: `ADMIN_TOKEN=${token('admin', 'secrets:rotate')} && curl -sS ${admin.resource}/clients/${throwaway.client_id}/secrets -H "authorization: Bearer $ADMIN_TOKEN" -H 'content-type: application/json' -d '{"overlap_seconds":3600}'`,
    },
  ];
}
