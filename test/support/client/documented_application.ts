/** An application set up as a section of docs/roles.md says, and the logins of people there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRemoteJWKSet, jwtVerify, type JWTPayload, type ProtectedHeaderParameters } from 'jose';
import * as openid from 'openid-client';
import type { Gatehouse } from '../node/gatehouse.ts';
import type { RegisteredClient } from '../node/operator.ts';
import type { Person } from '../person/person.ts';
import type { Admin } from './admin.ts';
import { redeem, requestCode } from './code_flow.ts';

const DOCUMENT = readFileSync(new URL('../../../docs/roles.md', import.meta.url), 'utf8');
/** The issuer in the settings of the document. */
const ISSUER = 'https://id.example.com';

interface ClientInDocument {
  readonly redirect_uris: readonly string[];
  readonly scope: string;
}

export interface ToldClaims {
  readonly idToken: JWTPayload;
  readonly header: ProtectedHeaderParameters;
  readonly userinfo: Readonly<Record<string, unknown>>;
  readonly refreshToken: string | undefined;
}

export class DocumentedApplication {
  readonly settings: string;
  readonly clientInDocument: ClientInDocument;
  /** The claims that the section says the application needs. */
  readonly claims: readonly string[];
  readonly client: RegisteredClient;
  readonly #gatehouse: Gatehouse;

  private constructor(gatehouse: Gatehouse, settings: string, clientInDocument: ClientInDocument, answer: object) {
    this.#gatehouse = gatehouse;
    this.settings = settings;
    this.clientInDocument = clientInDocument;
    const [, sentence = ''] = /needs the claims (.*?)[.,]/.exec(settings.replaceAll('`, `', '` `')) ?? [];
    this.claims = Array.from(sentence.matchAll(/`(\w+)`/g), ([, claim = '']) => claim);
    this.client = { client_secret: '', ...answer } as RegisteredClient;
  }

  /** Registers the client exactly as the section shows it. */
  static async register(admin: Admin, name: string): Promise<DocumentedApplication> {
    const [, settings = ''] = new RegExp(String.raw`^## ${name}\n(.*?)(?=^## )`, 'ms').exec(DOCUMENT) ?? [];
    const [, client = ''] = /-d '(\{.*?\})'\n/s.exec(settings) ?? [];
    const { status, body, text } = await admin.send('POST', '/clients', client);
    assert.equal(status, 201, text);
    return new DocumentedApplication(admin.gatehouse, settings, JSON.parse(client) as ClientInDocument, body);
  }

  /** The values that the settings have where the expression has its groups. */
  setting(expression: RegExp): readonly string[] {
    const [found, ...values] = expression.exec(this.settings) ?? [];
    assert.ok(found !== undefined, `the settings have no ${expression.source}`);
    return values;
  }

  /** What the settings say of a URL of the issuer, at the issuer of the test. */
  url(expression: RegExp): string {
    const [url = ''] = this.setting(expression);
    assert.ok(url.startsWith(ISSUER), url);
    return this.#gatehouse.issuer + url.slice(ISSUER.length);
  }

  async discovered(): Promise<openid.ServerMetadata> {
    return (await this.#configuration()).serverMetadata();
  }

  /** Logs the person in; the ID token is verified as an application does that takes only RS256. */
  async logIn(person: Person, scopes: readonly string[], redirect_uri: string): Promise<ToldClaims> {
    const how = { person, scope: scopes.join(' '), parameters: { redirect_uri } };
    const requested = await requestCode(this.#gatehouse, this.client, how);
    assert.equal(requested.callback.searchParams.get('error_description'), null);
    const answer = await redeem(this.#gatehouse.url, this.client, requested, { redirect_uri });
    const body = (await answer.json()) as { access_token: string; id_token: string; refresh_token?: string };
    const { payload, protectedHeader } = await this.#verify(requested.config, body.id_token);
    assert.equal(payload['nonce'], requested.checks.expectedNonce);
    const userinfo = await openid.fetchUserInfo(requested.config, body.access_token, payload.sub!);
    return { idToken: payload, header: protectedHeader, userinfo, refreshToken: body.refresh_token };
  }

  /** The claims of the ID token that a refresh brings. */
  async refresh(refreshToken: string | undefined): Promise<JWTPayload> {
    const config = await this.#configuration();
    const { id_token } = await openid.refreshTokenGrant(config, refreshToken ?? '');
    return (await this.#verify(config, id_token ?? '')).payload;
  }

  #verify(config: openid.Configuration, idToken: string) {
    const { issuer, jwks_uri } = config.serverMetadata();
    const keys = createRemoteJWKSet(new URL(jwks_uri!));
    return jwtVerify(idToken, keys, { issuer, audience: this.client.client_id, algorithms: ['RS256'] });
  }

  #configuration(): Promise<openid.Configuration> {
    const { client_id, client_secret } = this.client;
    const authentication = client_secret ? openid.ClientSecretBasic(client_secret) : openid.None();
    return openid.discovery(new URL(this.#gatehouse.issuer), client_id, undefined, authentication, {
      execute: [openid.allowInsecureRequests],
    });
  }
}
