/** An API that takes payments: a type of authorization details as a bank would register it. */
import assert from 'node:assert/strict';
import { Admin, type Body } from './admin.ts';
import { REDIRECT_URI } from './code_flow.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import type { RegisteredClient } from '../node/operator.ts';

export const BANK = 'https://bank.example.com';
export const LEDGER = 'https://ledger.example.com';

export const PAYMENT_TYPE = {
  type: 'payment',
  title: 'Pay {amount.value} {amount.currency} to {payee}',
  description: 'The money leaves your account at once.',
  schema: {
    type: 'object',
    properties: {
      amount: {
        type: 'object',
        title: 'Amount',
        properties: {
          value: { type: 'string', pattern: String.raw`^\d{1,9}\.\d{2}$` },
          currency: { type: 'string', pattern: '^[A-Z]{3}$' },
        },
        required: ['value', 'currency'],
      },
      payee: { type: 'string', title: 'Payee', minLength: 1, maxLength: 140 },
      reference: { type: 'string', maxLength: 2_000 },
      actions: { type: 'array', items: { type: 'string', enum: ['initiate', 'status', 'cancel'] } },
      more: { type: 'object', additionalProperties: true },
    },
    required: ['amount', 'payee'],
  },
  resources: [BANK, LEDGER],
};

export const PAYMENT = {
  type: 'payment',
  actions: ['initiate', 'status'],
  amount: { value: '123.50', currency: 'EUR' },
  payee: 'Merchant A',
};

export interface Payments {
  readonly admin: Admin;
  /** A shop that people pay at: the code flow, refresh tokens, and payments at the bank alone. */
  readonly shop: RegisteredClient;
  /** The same for a client that acts for itself. */
  readonly treasury: RegisteredClient;
}

/** Two APIs, the type that is for both, and two clients that may use it. */
export async function openBank(gatehouse: Gatehouse): Promise<Payments> {
  const admin = await Admin.of(gatehouse);
  const make = async (path: string, body: unknown): Promise<Body> => {
    const made = await admin.post(path, body);
    assert.equal(made.status, 201, made.text);
    return made.body;
  };
  for (const [identifier, name] of [
    [BANK, 'accounts:read'],
    [LEDGER, 'entries:read'],
  ]) {
    await make('/resources', { identifier, scopes: [{ name, description: `May ${name}` }] });
  }
  await make('/authorization-details-types', PAYMENT_TYPE);
  const bank = { resource: BANK, scopes: ['accounts:read'] };
  const authorization_details_types = ['payment'];
  const shop = await make('/clients', {
    client_name: 'The shop',
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: [REDIRECT_URI],
    resources: [bank],
    authorization_details_types,
  });
  const treasury = await make('/clients', {
    resources: [bank, { resource: LEDGER, scopes: ['entries:read'] }],
    authorization_details_types,
  });
  return { admin, shop, treasury };
}
