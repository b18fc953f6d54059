/** Routes that export the audit trail as evidence that can be verified offline, and the public keys that verify it. */
import { Readable } from 'node:stream';
import { z } from 'zod';
import { exportEvidence } from '../audit/evidence.ts';
import type { Reply } from '../http/route.ts';
import { time } from './audit_filter.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';

const NDJSON = 'application/x-ndjson';

const EvidenceQuery = z.strictObject({
  from: time('Start with the first checkpoint made at this time or later.'),
  to: time('End with the first checkpoint made at this time or later.'),
});
type EvidenceQuery = z.output<typeof EvidenceQuery>;

const AuditKeyView = z
  .looseObject({ kid: z.string().describe('The thumbprint of the key (RFC 7638).'), kty: z.string(), alg: z.string() })
  .meta({ id: 'AuditKey' });

export const auditEvidenceRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/audit-evidence',
    scope: 'audit:read',
    tag: 'audit',
    summary: 'Export the audit trail as evidence',
    description: `Lines of JSON (${NDJSON}) for \`gatehouse audit verify\`: signed checkpoints, each followed by its links and entries. The server makes a checkpoint first, so the export includes everything written before this call.`,
    query: EvidenceQuery,
    reply: { status: 200, description: 'The export.', alternatives: [NDJSON] },
    handle: ({ query }, call) => exportAll(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/audit-keys',
    scope: 'audit:read',
    tag: 'audit',
    summary: 'Get the public keys that verify checkpoints, as a JWK set',
    description:
      'Keep a copy where people with access to the database cannot change it: the evidence is only as trustworthy as these keys.',
    reply: {
      status: 200,
      description: 'A JWK set (RFC 7517).',
      body: z.strictObject({ keys: z.array(AuditKeyView) }).meta({ id: 'AuditKeys' }),
    },
    handle: (_, call) => Promise.resolve({ status: 200, body: { keys: publicKeys(call) } }),
  }),
];

/** Records the export before it sends the first byte; the export includes that record. */
async function exportAll(call: AdminCall, { from, to }: EvidenceQuery): Promise<Reply<never>> {
  const { database, trail, auditKeys, checkpoints, issuer } = call.dependencies;
  const details = { from: from ?? null, to: to ?? null, evidence: true };
  await trail.record(call.origin, { event: 'audit.exported', outcome: 'success', details });
  await checkpoints.make();
  const range = {
    from: from === undefined ? undefined : new Date(from),
    to: to === undefined ? undefined : new Date(to),
  };
  const lines = exportEvidence({ database, keys: auditKeys, issuer }, range, call.now);
  return { status: 200, headers: { 'Content-Type': NDJSON }, stream: Readable.from(lines, { highWaterMark: 1 }) };
}

function publicKeys(call: AdminCall): z.output<typeof AuditKeyView>[] {
  return call.dependencies.auditKeys.publicJwks.map(({ kid, kty, alg, ...rest }) => ({
    kid: kid!,
    kty: kty!,
    alg: alg!,
    ...rest,
  }));
}
