/** An API that calls another on behalf of people, with everything it takes to exchange their tokens (RFC 8693). */
import assert from 'node:assert/strict';
import { Admin } from './admin.ts';
import { registerApplication, signIn } from './code_flow.ts';
import { startGatehouse, type Gatehouse } from '../node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../node/operator.ts';
import { makePolicy, TOKEN_EXCHANGE, type TokenAnswer } from './exchanged_tokens.ts';

export const orders = 'https://orders.example.com';
export const billing = 'https://billing.example.com';
export const archive = 'https://archive.example.com';

type Members = Readonly<Record<string, unknown>>;

export class ExchangeScene {
  readonly gatehouse: Gatehouse;
  readonly admin: Admin;
  /** Where people log in; its tokens are for the orders API. */
  readonly shop: RegisteredClient;

  private constructor(gatehouse: Gatehouse, admin: Admin, shop: RegisteredClient) {
    this.gatehouse = gatehouse;
    this.admin = admin;
    this.shop = shop;
  }

  static async open(): Promise<ExchangeScene> {
    const gatehouse = await startGatehouse();
    for (const name of ['orders', 'billing', 'archive']) await registerResource(gatehouse, name);
    const shop = await registerApplication(gatehouse, {
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      resources: [{ resource: orders, scopes: ['orders:read', 'orders:write'] }],
    });
    return new ExchangeScene(gatehouse, await Admin.of(gatehouse), shop);
  }

  stop(): Promise<void> {
    return this.gatehouse.stop();
  }

  /** A client that may exchange tokens, as far as policies let it. */
  exchanger(metadata: Members = {}): Promise<RegisteredClient> {
    return registerClient(this.gatehouse, {
      grant_types: [TOKEN_EXCHANGE, 'client_credentials'],
      resources: [],
      ...metadata,
    });
  }

  /** A policy for it: tokens of the orders API for those of the billing API, with delegation, unless changed. */
  allow({ client_id }: RegisteredClient, changed: Members = {}): Promise<string> {
    return makePolicy(this.admin, 'exchange-policies', {
      client_id,
      subject_resource: orders,
      resource: billing,
      scopes: [
        { scope: 'billing:read', from: 'orders:read' },
        { scope: 'billing:write', from: 'orders:write' },
      ],
      mode: 'delegation',
      ...changed,
    });
  }

  /** One with a policy of its own. */
  async another(changed: Members = {}, metadata: Members = {}): Promise<RegisteredClient> {
    const made = await this.exchanger(metadata);
    await this.allow(made, changed);
    return made;
  }

  async tokenOfPerson(scope = 'orders:read'): Promise<string> {
    const { tokens } = await signIn(this.gatehouse, this.shop, { scope, parameters: { resource: orders } });
    return tokens.access_token;
  }
}

/** Asserts that there is no token, and why. */
export function refused(answer: TokenAnswer, error: string, words: RegExp): void {
  assert.deepEqual([answer.status, answer.body.error], [400, error], JSON.stringify(answer.body));
  assert.match(String(answer.body.error_description), words);
  assert.equal(answer.body.access_token, undefined);
}
