/**
 * Stores codes and refresh tokens as the library does, in bulk and without a browser. It makes each of them twice, one
 * for the fast path and one for the library; the two differ only in their ids.
 */
import { randomBytes } from 'node:crypto';
import { addSeconds, epochSeconds } from '../../../src/base/clock.ts';
import { sha256 } from '../../../src/base/secret.ts';
import { json, type Database } from '../../../src/db/connection.ts';
import type { RefreshTokenFamilies } from '../../../src/oidc/storage/refresh_token_families.ts';
import { REDIRECT_URI } from '../client/code_flow.ts';
import type { Random } from '../random.ts';

export const VERIFIER = 'a-code-verifier-that-every-prepared-code-is-bound-to';

/** The differences of each kind of token from a usable one. */
export const CONDITIONS = {
  usable: {},
  expired: { expired: true },
  used: { usedSecondsAgo: 60 },
  'used a moment ago': { usedSecondsAgo: 2 },
  grantless: { withoutGrant: true },
  'with an expired grant': { grantExpired: true },
  'with a grant of another client': { grantOfOther: true },
  'without its session': { withSession: true, withoutSession: true },
  'of an ended login': { withSession: true, sessionTooOld: true },
  'of another grant of the session': { withSession: true, sessionOfOther: true },
  'of a disabled account': { disabled: true },
  'bound to a key': { members: { jkt: 'x'.repeat(43) } },
  'that asks for claims': { members: { claims: { id_token: { email: null } } } },
  'of two resources': { twoResources: true },
  'without a resource': { withoutResource: true },
} as const satisfies Readonly<Record<string, Condition>>;

interface Condition {
  readonly expired?: true;
  readonly usedSecondsAgo?: number;
  readonly withoutGrant?: true;
  readonly grantExpired?: true;
  readonly grantOfOther?: true;
  readonly withSession?: true;
  readonly withoutSession?: true;
  readonly sessionTooOld?: true;
  readonly sessionOfOther?: true;
  readonly disabled?: true;
  readonly twoResources?: true;
  readonly withoutResource?: true;
  readonly members?: object;
}

export interface TokenPlan {
  readonly kind: 'AuthorizationCode' | 'RefreshToken';
  readonly condition: keyof typeof CONDITIONS;
  readonly clientId: string;
  readonly otherClientId: string;
  readonly resource: string;
  /** Whether the request was for userinfo too. */
  readonly withUserinfo: boolean;
  /** The scopes of the request. */
  readonly scopes: readonly string[];
  /** The scopes that the person has granted: fewer or more than `scopes`, and some that the API can use at userinfo. */
  readonly granted: { readonly openid: readonly string[]; readonly resource: readonly string[] };
}

/** One token of a pair, and its grant. */
export interface StoredToken {
  readonly value: string;
  readonly grantId: string;
  readonly sessionUid: string;
}

export interface PreparerSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly families: RefreshTokenFamilies;
  readonly random: Random;
  readonly accountId: string;
  readonly disabledAccountId: string;
}

type Row = Readonly<Record<string, unknown>>;

/** Collects rows, and stores all of them at once. */
export class StoredTokens {
  readonly #settings: PreparerSettings;
  readonly #grants: Row[] = [];
  readonly #artifacts: Row[] = [];

  constructor(settings: PreparerSettings) {
    this.#settings = settings;
  }

  /** Plans a pair of tokens. Random members that are not ids (nonce, sid) are the same in both. */
  plan(plan: TokenPlan): [StoredToken, StoredToken] {
    const { random } = this.#settings;
    const condition: Condition = CONDITIONS[plan.condition];
    const withSession = condition.withSession ?? random.next() < 0.5;
    const rotations = random.between(0, 3);
    const common = {
      ...(random.next() < 0.7 && { nonce: randomId() }),
      ...(random.next() < 0.3 && { sid: randomId() }),
      ...(random.next() < 0.9 && { acr: 'urn:gatehouse:acr:password', amr: ['pwd'], authTime: this.#now(-90) }),
      ...(withSession && { expiresWithSession: true }),
      ...(plan.kind === 'AuthorizationCode'
        ? {
            redirectUri: REDIRECT_URI,
            codeChallenge: sha256(VERIFIER).toString('base64url'),
            codeChallengeMethod: 'S256',
          }
        : { rotations, iiat: this.#now(-500), gty: `authorization_code${rotations > 0 ? ' refresh_token' : ''}` }),
      ...condition.members,
    };
    const marked = random.next() < 0.8;
    return [this.#store(plan, condition, common, marked), this.#store(plan, condition, common, marked)];
  }

  async save(): Promise<void> {
    const { database } = this.#settings;
    for (const rows of chunks(this.#grants.splice(0)))
      await database
        .insertInto('grants')
        .values(rows as never)
        .execute();
    for (const rows of chunks(this.#artifacts.splice(0)))
      await database
        .insertInto('artifacts')
        .values(rows as never)
        .execute();
  }

  #store(plan: TokenPlan, condition: Condition, common: object, marked: boolean): StoredToken {
    const { accountId: usual, disabledAccountId, families, issuer } = this.#settings;
    const [grantId, sessionUid] = [randomId(), randomId()];
    const accountId = condition.disabled ? disabledAccountId : usual;
    const seconds = condition.expired ? -5 : plan.kind === 'RefreshToken' ? 50_000 : 55;
    const value =
      marked && plan.kind === 'RefreshToken' ? families.mark(randomId(), grantId, this.#now(seconds)) : randomId();
    const { clientId, resource } = plan;
    const accountAndClient = { accountId, clientId };
    this.#grant(plan, condition, grantId, accountAndClient);
    const payload = {
      kind: plan.kind,
      iat: this.#now(-5),
      exp: this.#now(seconds),
      ...accountAndClient,
      grantId,
      scope: plan.scopes.join(' '),
      ...(!condition.withoutResource && {
        resource: condition.twoResources
          ? [resource, 'https://files.example.com']
          : plan.withUserinfo
            ? [resource, `${issuer}/userinfo`]
            : resource,
      }),
      sessionUid,
      ...common,
    };
    this.#artifacts.push({
      kind: plan.kind,
      artifact_id: sha256(value),
      grant_id: condition.withoutGrant ? null : sha256(grantId),
      account_id: accountId,
      client_id: clientId,
      uid: null,
      payload: json(payload),
      consumed_at: condition.usedSecondsAgo ? addSeconds(new Date(), -condition.usedSecondsAgo) : null,
      created_at: addSeconds(new Date(), -5),
      expires_at: addSeconds(new Date(), Math.max(seconds, 50_000)),
    });
    if ('expiresWithSession' in common && !condition.withoutSession)
      this.#session(condition, { sessionUid, grantId, ...accountAndClient });
    return { value, grantId, sessionUid };
  }

  #grant(plan: TokenPlan, condition: Condition, grantId: string, { accountId, clientId }: AccountAndClient): void {
    if (condition.withoutGrant) return;
    const { openid, resource } = plan.granted;
    const owner = condition.grantOfOther ? plan.otherClientId : clientId;
    const payload = {
      kind: 'Grant',
      iat: this.#now(-5),
      exp: this.#now(condition.grantExpired ? -1 : 90_000),
      accountId,
      clientId: owner,
      ...(openid.length > 0 && { openid: { scope: openid.join(' ') } }),
      ...(resource.length > 0 && { resources: { [plan.resource]: resource.join(' ') } }),
    };
    this.#grants.push({
      grant_id: sha256(grantId),
      account_id: accountId,
      client_id: owner,
      payload: json(payload),
      created_at: addSeconds(new Date(), -5),
      expires_at: addSeconds(new Date(), 90_000),
    });
  }

  #session(condition: Condition, { sessionUid: uid, grantId, accountId, clientId }: AccountAndClient & Ids): void {
    const payload = {
      kind: 'Session',
      iat: this.#now(-5),
      exp: this.#now(90_000),
      uid,
      accountId,
      loginTs: this.#now(condition.sessionTooOld ? -100_000_000 : -90),
      authorizations: { [clientId]: { sid: randomId(), grantId: condition.sessionOfOther ? randomId() : grantId } },
    };
    this.#artifacts.push({
      kind: 'Session',
      artifact_id: sha256(randomId()),
      grant_id: null,
      account_id: accountId,
      client_id: null,
      uid,
      payload: json(payload),
      consumed_at: null,
      created_at: addSeconds(new Date(), -5),
      expires_at: addSeconds(new Date(), 90_000),
    });
  }

  #now(seconds: number): number {
    return epochSeconds(addSeconds(new Date(), seconds));
  }
}

interface AccountAndClient {
  readonly accountId: string;
  readonly clientId: string;
}

interface Ids {
  readonly sessionUid: string;
  readonly grantId: string;
}

function randomId(): string {
  return randomBytes(32).toString('base64url');
}

const ROWS_AT_ONCE = 500;

export function chunks<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / ROWS_AT_ONCE) }, (_, index) =>
    all.slice(index * ROWS_AT_ONCE, (index + 1) * ROWS_AT_ONCE),
  );
}
