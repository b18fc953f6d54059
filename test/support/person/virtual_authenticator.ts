/** An authenticator with passkeys inside the browser of a test (the WebAuthn domain of Chromium's DevTools protocol). */
import type { CDPSession, Page } from 'playwright-core';

interface Credential {
  readonly credentialId: string;
  readonly isResidentCredential: boolean;
  readonly privateKey: string;
  readonly signCount: number;
  readonly rpId?: string;
  readonly userHandle?: string;
}

export class VirtualAuthenticator {
  readonly #session: CDPSession;
  readonly #authenticatorId: string;

  private constructor(session: CDPSession, authenticatorId: string) {
    this.#session = session;
    this.#authenticatorId = authenticatorId;
  }

  /** An authenticator that verifies its user; without `answers`, the person has not touched it yet. */
  static async in(page: Page, { answers = true } = {}): Promise<VirtualAuthenticator> {
    const session = await page.context().newCDPSession(page);
    await session.send('WebAuthn.enable');
    const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2',
        transport: 'internal',
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
        automaticPresenceSimulation: answers,
      },
    });
    return new VirtualAuthenticator(session, authenticatorId);
  }

  /** The person touches the authenticator, or no longer does. */
  async answer(enabled: boolean): Promise<void> {
    const { authenticatorId } = this.#ids();
    await this.#session.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled });
  }

  async credentials(): Promise<readonly Credential[]> {
    const { credentials } = await this.#session.send('WebAuthn.getCredentials', this.#ids());
    return credentials;
  }

  /** Holds a passkey of another authenticator too: a copy, as it was then. */
  async hold(credential: Credential): Promise<void> {
    await this.#session.send('WebAuthn.addCredential', { ...this.#ids(), credential });
  }

  async forget({ credentialId }: Credential): Promise<void> {
    await this.#session.send('WebAuthn.removeCredential', { ...this.#ids(), credentialId });
  }

  #ids(): { readonly authenticatorId: string } {
    return { authenticatorId: this.#authenticatorId };
  }
}
