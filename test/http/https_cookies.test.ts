import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { registerApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { Person } from '../support/person/person.ts';

const ISSUER = 'https://id.example.com';

/** A person whose requests come through a proxy that speaks TLS for the issuer, and plain http to the node. */
class PersonAtProxy extends Person {
  readonly #node: string;

  constructor({ url, account }: Gatehouse) {
    super({ issuer: ISSUER, account });
    this.#node = url;
  }

  override fetch(url: string | URL, init: RequestInit = {}): Promise<Response> {
    return super.fetch(String(url).replace(ISSUER, this.#node), init);
  }
}

describe('the cookies of an https issuer', () => {
  let gatehouse: Gatehouse;
  let person: PersonAtProxy;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { ISSUER } });
    const application = await registerApplication(gatehouse);
    person = new PersonAtProxy(gatehouse);
    const callback = await person.authorize(`${ISSUER}/authorize?${authorizationRequest(application)}`);
    assert.match(callback.search, /[?&]code=/);
  });
  after(() => gatehouse.stop());

  it('go over TLS alone, to this host alone, to no script and to no other site (AUTH-X13)', () => {
    const names = person.cookieHeaders.map((header) => header.slice(0, header.indexOf('=')).replace(/\.sig$/, ''));
    assert.deepEqual(
      new Set(names),
      new Set([
        '__Host-gatehouse_session',
        '__Secure-gatehouse_interaction',
        '__Secure-gatehouse_known_browser',
        '__Secure-gatehouse_resume',
      ]),
    );
    for (const header of person.cookieHeaders) {
      // what __Host- promises: no other path
      if (header.startsWith('__Host-')) assert.match(header, /; path=\/(;|$)/i);
      const attributes = header.toLowerCase().split(/; */).slice(1);
      for (const one of ['secure', 'httponly', 'samesite=lax']) assert.ok(attributes.includes(one), header);
      assert.equal(
        attributes.some((one) => one.startsWith('domain=')),
        false,
        header,
      );
    }
  });
});
