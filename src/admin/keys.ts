/** Signing keys: which there are, and their rotation on demand. Private halves never leave the house. */
import { z } from 'zod';
import { ONE_OF_SIGNING_ALGS, SIGNING_ALGS } from '../base/signing_algs.ts';
import { listKeys, type PublicKey } from '../keys/signing_key.ts';
import { adminRoute, type AdminRoute } from './call.ts';
import { Reason, Timestamp, timestamp, timestampOrNull } from './members.ts';

const KeyView = z
  .strictObject({
    kid: z.string(),
    alg: z.enum(SIGNING_ALGS),
    status: z
      .enum(['current', 'next', 'previous'])
      .describe('next is published and will sign; previous is published until what it signed has expired.'),
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
      .describe('The old key leaves JWKS at once, and what it signed fails as soon as verifiers look again.'),
  })
  .meta({ id: 'Rotation', examples: [{ alg: 'ES256', reason: 'Quarterly exercise' }] });

const Rotated = z
  .strictObject({
    current: KeyView,
    next: KeyView,
    previous: KeyView.optional().describe('Left out after an emergency.'),
  })
  .meta({ id: 'Rotated' });

export const keyRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/keys',
    scope: 'keys:read',
    tag: 'keys',
    summary: 'List the signing keys, the ones that sign first',
    reply: {
      status: 200,
      description: 'All keys in force; there are a handful.',
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
      'The next key signs from now on. Refused while verifiers may not have seen it, unless it is an emergency.',
    body: Rotation,
    reply: { status: 200, description: 'The keys in their new places.', body: Rotated },
    refuses: [409],
    async handle({ body }, call) {
      const material = await call.dependencies.rotation.makeMaterial(body.alg);
      return call.write(async (change) => {
        const { current, next, previous } = await call.dependencies.rotation.rotateIn(change, body, material);
        return {
          status: 200,
          body: { current: keyView(current), next: keyView(next), ...(previous && { previous: keyView(previous) }) },
        };
      });
    },
  }),
];

/** Member by member: a key that was just made still has its private half at hand. */
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
