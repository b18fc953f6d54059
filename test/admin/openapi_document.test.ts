import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

interface Operation {
  readonly operationId: string;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly schema: object;
  }[];
  readonly requestBody?: { readonly required: boolean; readonly content: Readonly<Record<string, object>> };
  readonly responses: Readonly<Record<string, { readonly content?: object }>>;
}

interface Document {
  readonly openapi: string;
  readonly servers: readonly { readonly url: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, object>>;
    readonly securitySchemes: {
      readonly oauth2: {
        readonly flows: {
          readonly clientCredentials: { readonly tokenUrl: string; readonly scopes: Readonly<Record<string, string>> };
        };
      };
    };
  };
}

describe('the OpenAPI document', () => {
  let gatehouse: Gatehouse;
  let document: Document;
  before(async () => {
    gatehouse = await startGatehouse({ path: '/id' });
    const answer = await fetch(`${gatehouse.url}/admin/v1/openapi.json`);
    assert.equal(answer.status, 200, 'It needs no token.');
    document = (await answer.json()) as Document;
  });
  after(() => gatehouse.stop());

  const operations = (): readonly (readonly [string, Operation])[] =>
    Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const),
    );

  it('is OpenAPI 3.1 and says where the API and its tokens are, below the issuer’s path too', () => {
    assert.match(document.openapi, /^3\.1\./);
    assert.deepEqual(document.servers, [{ url: `${gatehouse.issuer}/admin/v1` }]);
    const { tokenUrl, scopes } = document.components.securitySchemes.oauth2.flows.clientCredentials;
    assert.equal(tokenUrl, `${gatehouse.issuer}/token`);
    assert.deepEqual(Object.keys(scopes), gatehouse.admin.scope.split(' '));
  });

  it('names one scope for every call but itself', () => {
    const scopes = Object.keys(document.components.securitySchemes.oauth2.flows.clientCredentials.scopes);
    for (const [name, { security }] of operations()) {
      if (name === 'GET /openapi.json') assert.deepEqual(security, []);
      else {
        const named = new Set(security.map(({ oauth2 }) => oauth2?.join(' ') ?? ''));
        assert.ok(named.size === 1 && named.isSubsetOf(new Set(scopes)), name);
        const kinds = security.map((one) => Object.keys(one).join(' '));
        assert.deepEqual(kinds, ['oauth2', 'oauth2 dpop', 'oauth2 certificate'], `${name} (FIELD-E10)`);
      }
    }
  });

  it('gives each call a name of its own and each path its parameters', () => {
    const names = operations().map(([, { operationId }]) => operationId);
    assert.equal(new Set(names).size, names.length, names.join(' '));
    for (const [name, { parameters }] of operations()) {
      const inPath = [...name.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      assert.deepEqual(
        parameters.filter((one) => one.in === 'path').map((one) => one.name),
        inPath,
        name,
      );
    }
  });

  it('refers to nothing that it does not hold', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1] ?? '');
    assert.ok(references.length > 50);
    for (const reference of references) {
      let found: unknown = document;
      for (const step of reference.split('/')) found = (found as Record<string, unknown>)[step];
      assert.ok(found, reference);
    }
  });

  it('says that writes take an Idempotency-Key, and that unknown members are refused', () => {
    for (const [name, { parameters, requestBody }] of operations()) {
      const takesKey = parameters.some((one) => one.name === 'Idempotency-Key');
      assert.equal(takesKey, !name.startsWith('GET '), name);
      for (const body of Object.values(requestBody?.content ?? {})) {
        const named = JSON.stringify(body).match(/schemas\/(\w+)/)?.[1] ?? '';
        assert.equal(
          (document.components.schemas[named] as { additionalProperties?: unknown })?.additionalProperties,
          false,
          name,
        );
      }
    }
  });

  it('describes replies that are what really comes', async () => {
    const admin = await Admin.of(gatehouse);
    const made = await admin.post('/clients', {});
    const schema = document.components.schemas['RegisteredClient'] as {
      properties: object;
      required: readonly string[];
    };
    const members = Object.keys(made.body);
    assert.deepEqual(
      members.filter((member) => !(member in schema.properties)),
      [],
    );
    assert.deepEqual(
      schema.required.filter((member) => !members.includes(member)),
      [],
    );
    assert.ok(made.headers.get('location')?.startsWith(`${gatehouse.issuer}/admin/v1/clients/`));
  });
});
