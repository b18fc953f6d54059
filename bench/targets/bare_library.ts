/** Runs oidc-provider by itself: one static client with a plain secret, all data in memory, no audit. */
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const key = (type: 'ec' | 'rsa', alg: string) => {
  const { privateKey } =
    type === 'ec'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig' };
};

const provider = new Provider(`http://127.0.0.1:${process.env['PORT']}`, {
  clients: [
    {
      client_id: 'client',
      client_secret: 'secret',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
  ],
  jwks: { keys: [key('ec', 'ES256'), key('rsa', 'RS256')] },
  cookies: { keys: ['bench'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://api.example.com',
      getResourceServerInfo: () => ({
        scope: 'notes:read',
        audience: 'https://api.example.com',
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
provider.listen(Number(process.env['PORT']), '127.0.0.1');
