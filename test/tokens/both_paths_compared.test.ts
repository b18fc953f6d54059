import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { decodeJwt } from 'jose';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { REDIRECT_URI } from '../support/client/code_flow.ts';
import { draft, vary, VALUE, written, type Client, type RequestDraft } from '../support/compared/random_requests.ts';
import { startScene, type Scene } from '../support/compared/scene.ts';
import {
  CONDITIONS,
  StoredTokens,
  VERIFIER,
  type StoredToken,
  type TokenPlan,
} from '../support/compared/stored_tokens.ts';
import { send, tracesOf, type Answer } from '../support/compared/traces.ts';
import { seededRandom } from '../support/random.ts';

const PAIRS = 2_000;
/** The fast path must answer at least this number of them, so that the comparison is meaningful. */
const FAST_AT_LEAST = 500;
const AT_ONCE = 8;
const DIFFERENCES_SHOWN = 3;
const OPENID = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access'];

/** One request, and the code or token for each of the two paths. */
interface Pair {
  readonly draft: RequestDraft;
  readonly values: readonly [string, string];
  readonly tokens?: readonly [StoredToken, StoredToken];
}

const random = seededRandom(Number(process.env.FAULT_SEED ?? 20_261_130));

describe(`both paths, given the same random requests (FAULT_SEED=${random.seed})`, () => {
  let scene: Scene;
  let tokens: StoredTokens;
  before(async () => {
    scene = await startScene();
    tokens = new StoredTokens({ ...scene, issuer: scene.fast.issuer, database: scene.fast.database, random });
    // stops the clock, so that the tokens of both paths have the same times
    moveClock(0);
  });
  after(async () => {
    resetClock();
    await scene.stop();
  });

  const variety = () => ({
    random,
    clients: [...scene.machines, ...scene.applications],
    scopes: [...OPENID, ...Object.values(scene.scopesOf).flat(), 'unknown'],
    resources: [
      ...Object.keys(scene.scopesOf),
      'https://unknown.example.com',
      'nothing',
      `${scene.fast.demo.resource}#x`,
      `${scene.fast.demo.resource}/`,
      'HTTPS://FILES.example.com:443/',
    ],
  });

  const fastAnswers = async ({ managementUrl }: { readonly managementUrl: string }): Promise<number> => {
    const metrics = await (await fetch(`${managementUrl}/metrics`)).text();
    return Number(/^gatehouse_lean_answers_total (\d+)/m.exec(metrics)?.[1]);
  };

  /** Sends each pair, and compares all effects of its two requests. */
  const compare = async (t: TestContext, pairs: readonly Pair[]): Promise<void> => {
    const earlier = await fastAnswers(scene.fast);
    const answers = await sendAll(pairs);
    const taken = (await fastAnswers(scene.fast)) - earlier;
    assert.equal(await fastAnswers(scene.library), 0, 'The node that must not use its fast path has used it.');
    const traces = await Promise.all(
      ([0, 1] as const).map((which) =>
        tracesOf(
          scene.fast.database,
          scene.families,
          pairs.map(({ tokens: its, values }, index) => ({
            answer: answers[index]![which],
            token: its?.[which],
            jti: jtiOf(values[which]),
          })),
        ),
      ),
    );
    const statuses = Object.groupBy(answers, ([{ status }]) => String(status));
    const told = Object.entries(statuses).map(([status, its]) => `${its!.length} × ${status}`);
    t.diagnostic(`${pairs.length} pairs compared, ${taken} answered on the fast path; ${told.join(', ')}`);
    showDifferences(pairs, traces as [object[], object[]]);
    assert.ok(pairs.length >= PAIRS && taken >= FAST_AT_LEAST, `Only ${taken} of ${pairs.length} were answered on it.`);
    assert.equal(statuses['500'] ?? statuses['503'], undefined);
  };

  const sendAll = async (pairs: readonly Pair[]): Promise<[Answer, Answer][]> => {
    const answers: [Answer, Answer][] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      for (let index = next++; index < pairs.length; index = next++) {
        const { draft: its, values } = pairs[index]!;
        // few requests from one address, because the trail records only the first of many equal refusals one by one
        its.headers['x-forwarded-for'] = `10.${index >> 10}.${(index >> 2) & 255}.1`;
        answers[index] = await Promise.all([
          send(scene.fast.url, written(its, values[0]), ''),
          send(scene.library.url, written(its, values[1]), '?ordinary'),
        ]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return answers;
  };

  it('give the same for client credentials', async (t) => {
    const pairs = Array.from({ length: PAIRS }, (): Pair => {
      const client = random.pick(scene.machines);
      const asked = draft('/token', client, [['grant_type', 'client_credentials']]);
      const resource = random.pick(Object.keys(scene.scopesOf));
      if (random.next() < 0.4) asked.parameters.push(['scope', someScopes(scene.scopesOf[resource]!).join(' ')]);
      if (random.next() < 0.3) asked.parameters.push(['resource', resource]);
      return { draft: vary(asked, variety()), values: ['', ''] };
    });
    await compare(t, pairs);
  });

  it('give the same for authorization codes', async (t) => {
    moveClock(3_601);
    const pairs = Array.from({ length: PAIRS }, () => {
      const client = random.pick(scene.applications);
      return prepared(
        'AuthorizationCode',
        client,
        draft('/token', client, [
          ['grant_type', 'authorization_code'],
          ['code', VALUE],
          ['redirect_uri', REDIRECT_URI],
          ['code_verifier', VERIFIER],
        ]),
      );
    });
    await tokens.save();
    await compare(t, pairs);
  });

  it('give the same for refresh tokens', async (t) => {
    moveClock(3_601);
    const pairs = Array.from({ length: PAIRS }, () => {
      const client = random.pick(scene.applications);
      return prepared(
        'RefreshToken',
        client,
        draft('/token', client, [
          ['grant_type', 'refresh_token'],
          ['refresh_token', VALUE],
        ]),
      );
    });
    await tokens.save();
    await compare(t, pairs);
  });

  for (const path of ['/introspect', '/revoke'] as const) {
    it(`give the same at ${path}`, async (t) => {
      moveClock(3_601);
      const pairs = await pairsOfTokens(path);
      // now the tokens of one API have expired
      moveClock(11);
      await compare(t, pairs);
    });
  }

  /** Plans a code or refresh token of the client in a random condition, and a request with it that may be changed. */
  const prepared = (kind: TokenPlan['kind'], client: Client, asked: RequestDraft): Pair => {
    const resource = random.pick(Object.keys(scene.scopesOf).slice(0, client.name.includes('two') ? 2 : 1));
    const scopes = someScopes(scene.scopesOf[resource]!);
    const openid = random.next() < 0.7 ? ['openid', ...random.some(OPENID.slice(1), random.between(0, 4))] : [];
    const forApi = random.some(OPENID.slice(1, 5), random.between(0, 4));
    const resourceScopes = [...someScopes(scopes), ...forApi];
    const granted = { openid: random.next() < 0.9 ? openid : openid.slice(0, 2), resource: resourceScopes };
    const condition =
      random.next() < 0.8 ? 'usable' : random.pick(Object.keys(CONDITIONS) as (keyof typeof CONDITIONS)[]);
    asked.what.push(condition);
    const { client_id: clientId } = client;
    const { client_id: otherClientId } = random.pick(scene.applications);
    const withUserinfo = openid.length > 0 && random.next() < 0.5;
    if (withUserinfo) asked.what.push('for userinfo too');
    const ids = { clientId, otherClientId, resource, withUserinfo };
    const plan = { kind, condition, ...ids, scopes: [...openid, ...scopes], granted };
    const its = tokens.plan(plan);
    return { draft: vary(asked, variety()), tokens: its, values: [its[0].value, its[1].value] };
  };

  /** Makes requests with access tokens of programs and of people, with refresh tokens, and with invalid tokens. */
  const pairsOfTokens = async (path: string): Promise<Pair[]> => {
    const issued = await issuedTokens();
    const stored = Array.from({ length: 20 }, () => prepared('RefreshToken', scene.applications[0]!, emptyDraft()));
    await tokens.save();
    const odd = ['x', 'x.y.z', 'a.b', `${issued[0]!.values[0]}x`];
    return Array.from({ length: PAIRS }, (_, index): Pair => {
      // each token is sent several times, so that some are revoked again
      const owner = issued[index % issued.length]!;
      const client = random.next() < 0.6 ? owner.client : random.pick([...scene.machines, ...scene.applications]);
      const asked = vary(draft(path, client, [['token', VALUE]]), variety());
      const kind = random.next();
      if (kind < 0.8) return { draft: asked, values: owner.values };
      if (kind < 0.9 && stored.length > 0) return { ...stored.pop()!, draft: asked };
      const value = random.pick(odd);
      return { draft: asked, values: [value, value] };
    });
  };

  const emptyDraft = (): RequestDraft => draft('/token', scene.applications[0]!, []);

  interface Issued {
    readonly client: Client;
    readonly values: readonly [string, string];
  }

  /** Gets unexpired access tokens, one from each path for each request. */
  const issuedTokens = async (): Promise<Issued[]> => {
    const people = scene.applications.filter(({ name }) => /^application(?: with p.*)?$/.test(name));
    const machines = scene.machines.filter(({ name }) => /^machine(?: with post| of files| of one scope)?$/.test(name));
    const owners = Array.from({ length: 500 }, (_, index) => random.pick(index % 4 === 0 ? people : machines));
    const asked = owners.map((client): Pair => {
      if (machines.includes(client))
        return { draft: draft('/token', client, [['grant_type', 'client_credentials']]), values: ['', ''] };
      const [resource = ''] = Object.keys(scene.scopesOf);
      const scopes = scene.scopesOf[resource]!;
      const openid = random.next() < 0.5 ? ['openid', 'email'] : [];
      const granted = { openid, resource: scopes };
      const { client_id: clientId } = client;
      const its = tokens.plan({
        kind: 'RefreshToken',
        condition: 'usable',
        clientId,
        otherClientId: '',
        resource,
        withUserinfo: openid.length > 0,
        scopes: [...openid, ...scopes],
        granted,
      });
      const form = [
        ['grant_type', 'refresh_token'],
        ['refresh_token', VALUE],
      ] as const;
      return { draft: draft('/token', client, form), tokens: its, values: [its[0].value, its[1].value] };
    });
    await tokens.save();
    const answers = await sendAll(asked);
    return owners.map((client, index) => {
      const [one, other] = answers[index]!.map(({ body }) => (body as { readonly access_token: string }).access_token);
      return { client, values: [one!, other!] };
    });
  };
});

function someScopes(scopes: readonly string[]): string[] {
  return random.some(scopes, random.between(1, scopes.length));
}

function jtiOf(token: string): string | undefined {
  return /^ey[\w-]+\.ey[\w-]+\.[\w-]+$/.test(token) ? decodeJwt(token).jti : undefined;
}

function showDifferences(pairs: readonly Pair[], [fast, library]: readonly [object[], object[]]): void {
  const different = pairs.filter((_, index) => !isSame(fast[index], library[index]));
  for (const pair of different.slice(0, DIFFERENCES_SHOWN)) {
    const index = pairs.indexOf(pair);
    console.log(`Pair ${index} (${pair.draft.what.join(', ')}): ${written(pair.draft, VALUE).body}`);
  }
  const [first] = different;
  if (!first) return;
  const index = pairs.indexOf(first);
  assert.deepEqual(fast[index], library[index], `${different.length} pairs differ; the first is number ${index}`);
}

function isSame(one: unknown, other: unknown): boolean {
  try {
    assert.deepEqual(one, other);
    return true;
  } catch {
    return false;
  }
}
