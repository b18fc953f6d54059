/**
 * The two ceremonies of passkeys (WebAuthn Level 3, 7): registration and authentication. Both demand that the
 * authenticator verified its user. The browser's answer arrives as JSON in a form field.
 */
import { verifyAuthenticationResponse, verifyRegistrationResponse } from '@simplewebauthn/server';
import { z } from 'zod';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Reader } from '../db/connection.ts';
import { isWithoutCertificates } from './attestation.ts';
import { expiryOfChallenge, newChallenge, useChallenge } from './passkey_challenges.ts';
import { findPasskey, notePasskeyUse, type NewPasskey, type Passkey } from './passkey_rows.ts';

export interface PasskeySettings {
  /** The relying party: the issuer's host, or a parent domain of it. */
  readonly rpId: string;
  /** The origin of the pages that may use a passkey. */
  readonly origin: string;
  /** 32 bytes, the same on every node. */
  readonly challengeKey: Buffer;
}

/** ES256, EdDSA and RS256, which every authenticator has one of. */
const ALGORITHMS = [-7, -8, -257];
const CHALLENGE_SECONDS = 1_800;
/** A key of 4,096 bits, the longest of these algorithms in use, has about 530. */
const PUBLIC_KEY_BYTES_AT_MOST = 1_024;

/** The ways to reach an authenticator (WebAuthn Level 3, 5.8.4). Browsers ignore others. */
const TRANSPORTS = new Set(['usb', 'nfc', 'ble', 'smart-card', 'hybrid', 'internal']);

const base64url = (most: number) =>
  z
    .string()
    .min(1)
    .max(most)
    .regex(/^[\w-]+$/);
const common = {
  // the identifier of a credential has at most 1,023 bytes (WebAuthn, 4)
  id: base64url(1_364),
  rawId: base64url(1_364),
  type: z.literal('public-key'),
};
const Assertion = z.object({
  ...common,
  response: z.object({
    clientDataJSON: base64url(4_096),
    authenticatorData: base64url(4_096),
    signature: base64url(4_096),
    userHandle: base64url(100).nullish(),
  }),
});
const Registration = z.object({
  ...common,
  response: z.object({
    clientDataJSON: base64url(4_096),
    attestationObject: base64url(8_192),
    transports: z
      .array(z.string().max(32))
      .max(10)
      .default([])
      .transform((named) => [...TRANSPORTS].filter((transport) => named.includes(transport))),
  }),
});

/** A passkey that was used, for `usePasskey`. */
export interface Assertion {
  readonly passkey: Passkey;
  readonly counter: number;
  readonly backedUp: boolean;
  readonly challenge: string;
  readonly challengeExpiresAt: Date;
}

export type AssertionOutcome =
  | { readonly assertion: Assertion }
  | {
      readonly assertion?: never;
      readonly reason: 'unknown_passkey' | 'wrong_passkey';
      readonly accountId?: string;
      readonly credentialId?: string;
    };

export class PasskeyCeremonies {
  readonly #settings: PasskeySettings;

  constructor(settings: PasskeySettings) {
    this.#settings = settings;
  }

  get rpId(): string {
    return this.#settings.rpId;
  }

  /** The options of `navigator.credentials.get`. Without `among`, the person chooses any passkey of this server. */
  requestOptions(boundTo: string, now: Date, among: readonly Passkey[] = []): object {
    return {
      challenge: newChallenge(this.#settings.challengeKey, boundTo, now, CHALLENGE_SECONDS),
      rpId: this.#settings.rpId,
      userVerification: 'required',
      allowCredentials: among.map(descriptorOf),
    };
  }

  /** The options of `navigator.credentials.create`. The passkey can be found without an address (discoverable). */
  creationOptions(
    boundTo: string,
    now: Date,
    account: { readonly accountId: string; readonly email: string; readonly name: string | null },
    existing: readonly Passkey[],
  ): object {
    const { challengeKey, rpId } = this.#settings;
    return {
      challenge: newChallenge(challengeKey, boundTo, now, CHALLENGE_SECONDS),
      rp: { id: rpId, name: rpId },
      user: {
        id: userHandleOf(account.accountId),
        name: account.email,
        displayName: account.name ?? account.email,
      },
      pubKeyCredParams: ALGORITHMS.map((alg) => ({ type: 'public-key', alg })),
      authenticatorSelection: { residentKey: 'required', requireResidentKey: true, userVerification: 'required' },
      attestation: 'none',
      excludeCredentials: existing.map(descriptorOf),
    };
  }

  /** Verifies the answer of `navigator.credentials.get`; `usePasskey` must follow. */
  async verifyAssertion(reader: Reader, answer: string, boundTo: string, now: Date): Promise<AssertionOutcome> {
    const response = parsed(Assertion, answer);
    if (!response) return { reason: 'wrong_passkey' };
    const passkey = await findPasskey(reader, response.id);
    if (!passkey) return { reason: 'unknown_passkey', credentialId: response.id };
    const { userHandle, clientDataJSON, authenticatorData, signature } = response.response;
    const about = { accountId: passkey.accountId, credentialId: passkey.credentialId };
    if (typeof userHandle === 'string' && userHandle !== userHandleOf(passkey.accountId))
      return { reason: 'wrong_passkey', ...about };
    const challenge = new ExpectedChallenge(this.#settings.challengeKey, boundTo, now);
    try {
      const { verified, authenticationInfo } = await verifyAuthenticationResponse({
        response: {
          ...response,
          response: { clientDataJSON, authenticatorData, signature },
          clientExtensionResults: {},
        },
        expectedChallenge: challenge.matches,
        expectedOrigin: this.#settings.origin,
        expectedRPID: this.#settings.rpId,
        credential: {
          id: passkey.credentialId,
          publicKey: new Uint8Array(passkey.publicKey),
          // `notePasskeyUse` compares the counter, in the statement that stores the new one
          counter: 0,
        },
        requireUserVerification: true,
      });
      if (!verified || !challenge.accepted) return { reason: 'wrong_passkey', ...about };
      const { newCounter: counter, credentialBackedUp: backedUp } = authenticationInfo;
      const { value, expiresAt } = challenge.accepted;
      return { assertion: { passkey, counter, backedUp, challenge: value, challengeExpiresAt: expiresAt } };
    } catch {
      // the library throws for each thing that is wrong with an answer
      return { reason: 'wrong_passkey', ...about };
    }
  }

  /** Verifies the answer of `navigator.credentials.create`. Returns `undefined` if it is not valid. */
  async verifyRegistration(
    answer: string,
    boundTo: string,
    now: Date,
  ): Promise<{ readonly passkey: Omit<NewPasskey, 'name'>; readonly use: UseOfChallenge } | undefined> {
    const response = parsed(Registration, answer);
    if (!response) return undefined;
    const challenge = new ExpectedChallenge(this.#settings.challengeKey, boundTo, now);
    const { clientDataJSON, attestationObject, transports } = response.response;
    try {
      if (!isWithoutCertificates(attestationObject)) return undefined;
      const { verified, registrationInfo } = await verifyRegistrationResponse({
        response: { ...response, response: { clientDataJSON, attestationObject }, clientExtensionResults: {} },
        expectedChallenge: challenge.matches,
        expectedOrigin: this.#settings.origin,
        expectedRPID: this.#settings.rpId,
        requireUserVerification: true,
        supportedAlgorithmIDs: ALGORITHMS,
      });
      if (!verified || !challenge.accepted) return undefined;
      const { credential, aaguid, credentialDeviceType, credentialBackedUp } = registrationInfo;
      // the schema bounds the id of the answer; the library takes another one from the authenticator's data
      if (credential.id !== response.id || credential.publicKey.length > PUBLIC_KEY_BYTES_AT_MOST) return undefined;
      const { value, expiresAt } = challenge.accepted;
      return {
        passkey: {
          credentialId: credential.id,
          publicKey: Buffer.from(credential.publicKey),
          counter: credential.counter,
          transports,
          aaguid,
          backupEligible: credentialDeviceType === 'multiDevice',
          backedUp: credentialBackedUp,
        },
        use: ({ tx }) => useChallenge(tx, value, expiresAt),
      };
    } catch {
      return undefined;
    }
  }
}

/** Uses the challenge of a verified answer. Returns false if it was used before. */
export type UseOfChallenge = (work: Pick<UnitOfWork, 'tx'>) => Promise<boolean>;

/**
 * Uses a verified answer in the transaction of the login. Returns false if its challenge was used before, or if the
 * passkey was removed or its counter did not grow.
 */
export async function usePasskey(work: UnitOfWork, assertion: Assertion): Promise<boolean> {
  const { passkey, challenge, challengeExpiresAt } = assertion;
  if (!(await useChallenge(work.tx, challenge, challengeExpiresAt))) return false;
  return notePasskeyUse(work, passkey, assertion);
}

/** Identifies the account to the authenticator. The id is random and says nothing about the person. */
export function userHandleOf(accountId: string): string {
  return Buffer.from(accountId).toString('base64url');
}

class ExpectedChallenge {
  accepted: { readonly value: string; readonly expiresAt: Date } | undefined;
  /** Takes what the client data has as challenge: any JSON value, although the library says a text. */
  readonly matches: (challenge: unknown) => boolean;

  constructor(key: Buffer, boundTo: string, now: Date) {
    this.matches = (value) => {
      if (typeof value !== 'string') return false;
      const expiresAt = expiryOfChallenge(key, value, boundTo, now);
      this.accepted = expiresAt && { value, expiresAt };
      return expiresAt !== undefined;
    };
  }
}

function descriptorOf({ credentialId, transports }: Passkey): object {
  return { type: 'public-key', id: credentialId, transports };
}

function parsed<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
