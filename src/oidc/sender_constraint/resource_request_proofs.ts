/**
 * Sender-constrained access tokens (DPoP, RFC 9449, 7; mTLS, RFC 8705, 3) at this server's protected resources that the
 * library doesn't serve. The library verifies the proof, which is then marked as used, as at the token endpoint.
 */
import { hash } from 'node:crypto';
import type { Context } from 'koa';
import { errors, type Provider } from 'oidc-provider';
import type { Database } from '../../db/connection.ts';
import { BadCertificateHeader } from '../../http/certificate_header.ts';
import type { ClientCertificates } from '../../http/client_certificates.ts';
import { isProvedFor, useProof } from './dpop.ts';
import { anonymousOrigin, notesOf } from '../request/request_events.ts';
import { validateProofAt } from './sender_constraint.ts';
import type { UnansweredUses } from '../request/unanswered_uses.ts';

export interface SenderProofsSettings {
  readonly provider: () => Provider;
  readonly database: Database;
  /** `undefined` if this server receives no certificates; certificate-bound tokens are then refused. */
  readonly certificates: ClientCertificates | undefined;
  /** The base URLs under which the resource is reached, the issuer first, without a trailing slash. */
  readonly bases: readonly string[];
  readonly onReplay: (ctx: Context) => Promise<void>;
  /** Takes back the use of a proof if its request is answered with 503. */
  readonly unanswered: UnansweredUses;
}

/** A presented token; `cnf` is its confirmation claim (RFC 7800). */
export interface PresentedToken {
  readonly scheme: 'Bearer' | 'DPoP';
  readonly token: string;
  readonly cnf: Readonly<Record<string, unknown>> | undefined;
}

export interface SenderRefusal {
  readonly error: 'invalid_token' | 'invalid_dpop_proof' | 'use_dpop_nonce';
  readonly description: string;
}

/** Resolves to an error if the sender is not the one that the token was issued to, else to `undefined`. */
export type CheckSender = (ctx: Context, presented: PresentedToken) => Promise<SenderRefusal | undefined>;

/** Returns a check that the sender of a token proves the key or certificate that the token is bound to. */
export function createSenderCheck(settings: SenderProofsSettings): CheckSender {
  return async (ctx, { scheme, token, cnf = {} }) => {
    const { jkt, 'x5t#S256': x5t, ...unknown } = cnf;
    if (Object.keys(unknown).length > 0) return invalid('the token has an unsupported cnf member');
    if (jkt === undefined && scheme === 'DPoP') return invalid('the token is not bound to a key; send it as Bearer');
    if (jkt !== undefined && scheme === 'Bearer')
      return invalid('the token is bound to a key; send it as DPoP, with a proof');
    if (x5t !== undefined && x5t !== thumbprintOf(settings.certificates, ctx))
      return invalid('the token is bound to a client certificate; send the request with it');
    return jkt === undefined ? undefined : checkProof(settings, ctx, token, jkt);
  };
}

async function checkProof(
  { provider, database, bases, onReplay, unanswered }: SenderProofsSettings,
  ctx: Context,
  token: string,
  jkt: unknown,
): Promise<SenderRefusal | undefined> {
  if (ctx.get('DPoP') === '') return { error: 'invalid_dpop_proof', description: 'a DPoP proof is required' };
  const addresses = bases.map((base) => base + ctx.path);
  let replayed = false;
  try {
    const thumbprint = await validateProofAt(provider(), ctx, token, (itsCtx) => {
      return addresses.find((address) => isProvedFor(itsCtx, address)) ?? addresses[0]!;
    });
    if (thumbprint !== jkt) return invalid('the DPoP proof must be signed with the key that the token is bound to');
    ctx.res.once('finish', () => {
      const takeBacks = notesOf(ctx).releases;
      if (ctx.status === 503) void unanswered.takeBack({ origin: anonymousOrigin(ctx), takeBacks });
    });
    await useProof(database, ctx, () => (replayed = true));
    return undefined;
  } catch (error) {
    if (!(error instanceof errors.InvalidDpopProof || error instanceof errors.UseDpopNonce)) throw error;
    if (replayed) await onReplay(ctx);
    return {
      error: error instanceof errors.UseDpopNonce ? 'use_dpop_nonce' : 'invalid_dpop_proof',
      description: error.error_description ?? 'the DPoP proof is not valid',
    };
  }
}

/** A header without a valid certificate counts as no certificate; the proxy's log has the cause. */
function thumbprintOf(certificates: ClientCertificates | undefined, { req }: Context): string | undefined {
  try {
    const certificate = certificates?.of(req);
    return certificate && hash('sha256', certificate.raw, 'base64url');
  } catch (error) {
    if (error instanceof BadCertificateHeader) return undefined;
    throw error;
  }
}

function invalid(description: string): SenderRefusal {
  return { error: 'invalid_token', description };
}
