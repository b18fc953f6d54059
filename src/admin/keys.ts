/** Routes that list the signing keys and rotate them. No route returns a private key. */
import { z } from 'zod';
import { ONE_OF_SIGNING_ALGS, SIGNING_ALGS } from '../base/signing_algs.ts';
import { listKeys, type PublicKey } from '../keys/signing_key.ts';
import { adminRoute, type AdminRoute } from './admin_call.ts';
import { Reason, Timestamp, timestamp, timestampOrNull } from './shared_members.ts';

const KeyView = z
  .strictObject({
    kid: z.string(),
    alg: z.enum(SIGNING_ALGS),
    status: z
      .enum(['current', 'next', 'previous'])
      .describe(
        'A next key is published and will sign later; a previous key stays published until the tokens it signed have expired.',
      ),
    public_jwk: z.record(z.string(), z.unknown()),
    created_at: Timestamp,
    published_at: Timestamp,
    signs_from: Timestamp.nullable(),
    signed_until: Timestamp.nullable(),
  })
  .meta({ id: 'SigningKey' });

const Rotation = z
  .strictObject({
    alg: z.enum(SIGNING_ALGS, ONE_OF_SIGNING_ALGS),
    reason: Reason,
    emergency: z
      .boolean('must be true or false')
      .default(false)
      .describe(
        'Removes the old key from the JWKS at once. Its signatures fail as soon as verifiers fetch the JWKS again.',
      ),
  })
  .meta({ id: 'Rotation', examples: [{ alg: 'ES256', reason: 'Quarterly exercise' }] });

const Rotated = z
  .strictObject({
    current: KeyView,
    next: KeyView,
    previous: KeyView.optional().describe('Absent after an emergency rotation.'),
  })
  .meta({ id: 'Rotated' });

export const keyRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/keys',
    scope: 'keys:read',
    tag: 'keys',
    summary: 'List the signing keys, current keys first',
    reply: {
      status: 200,
      description: 'All keys, on one page.',
      body: z.strictObject({ items: z.array(KeyView) }),
    },
    async handle(_input, call) {
      const keys = await listKeys(call.dependencies.database);
      return { status: 200, body: { items: keys.map(keyView) } };
    },
  }),
  adminRoute({
    method: 'POST',
    path: '/keys/rotate',
    scope: 'keys:rotate',
    tag: 'keys',
    summary: 'Rotate the signing key of an algorithm',
    description:
      'The next key becomes the signing key now. Refused if verifiers may not have fetched it yet, unless emergency is true.',
    body: Rotation,
    reply: { status: 200, description: 'The keys after the rotation.', body: Rotated },
    refuses: [409],
    async handle({ body }, call) {
      const material = await call.dependencies.rotation.makeMaterial(body.alg);
      return call.write(async (work) => {
        const { current, next, previous } = await call.dependencies.rotation.rotateIn(work, body, material);
        return {
          status: 200,
          body: { current: keyView(current), next: keyView(next), ...(previous && { previous: keyView(previous) }) },
        };
      });
    },
  }),
];

/** Copies only the public members: a new key object still contains its private key. */
function keyView(key: PublicKey): z.output<typeof KeyView> {
  return {
    kid: key.kid,
    alg: key.alg,
    status: key.status,
    public_jwk: { ...key.publicJwk },
    created_at: timestamp(key.createdAt),
    published_at: timestamp(key.publishedAt),
    signs_from: timestampOrNull(key.signsFrom),
    signed_until: timestampOrNull(key.signedUntil),
  };
}
