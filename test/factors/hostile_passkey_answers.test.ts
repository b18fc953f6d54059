import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { closeOutside, PRIVATE, startOutside } from '../support/network/outside_server.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { hiddenField, newAccount } from '../support/person/authenticator.ts';
import { Person, type Arrival } from '../support/person/person.ts';
import { SoftwarePasskey, type Attestation, type RegistrationParts } from '../support/person/software_passkey.ts';

type Options = { readonly challenge: string };

/** What the page gives to the browser's `navigator.credentials`. */
function optionsIn(page: string): Options {
  const [, options = ''] = /data-options="([^"]*)"/.exec(page) ?? [];
  return JSON.parse(options.replaceAll(/&(?:quot|#34);/g, '"').replaceAll('&amp;', '&')) as Options;
}

describe('a hostile answer of a passkey', () => {
  let gatehouse: Gatehouse;
  let url: string;
  before(async () => {
    gatehouse = await startGatehouse({ host: 'localhost' });
    url = `${gatehouse.issuer}/account/passkeys`;
  });
  after(() => gatehouse.stop());
  afterEach(closeOutside);

  const newPerson = async () => {
    const account = await newAccount(gatehouse);
    return { account, person: new Person(gatehouse, { account }) };
  };

  const send = async (person: Person, answerTo: (options: Options) => Promise<string>): Promise<Arrival> => {
    const { page } = await person.walk(url);
    const registration = await answerTo(optionsIn(page));
    return person.submit(url, { form_token: hiddenField(page, 'form_token'), name: 'A passkey', registration });
  };

  const register = (person: Person, passkey: SoftwarePasskey, parts?: RegistrationParts): Promise<Arrival> =>
    send(person, (options) => passkey.register(options, parts));

  const assertRefused = ({ response, page }: Arrival, what: string): void => {
    assert.equal(response.status, 400, what);
    assert.match(page, /The passkey was not added/, what);
  };

  const stored = (accountId: string) =>
    gatehouse.database.selectFrom('passkeys').selectAll().where('account_id', '=', accountId).execute();

  it('makes the server fetch nothing by the certificates of an attestation', async () => {
    const inside = await startOutside((_, response) => response.end(), { address: PRIVATE, tls: false });
    const { person } = await newPerson();
    const passkey = await SoftwarePasskey.of(gatehouse.issuer);
    const revocationList = `http://${PRIVATE}:${inside.port}/latest/meta-data`;
    const attest: RegistrationParts['attest'] = (signed) => passkey.androidAttestation(signed, revocationList);
    assertRefused(await register(person, passkey, { attest }), 'certificates of its own');
    assert.deepEqual(inside.requests, []);
  });

  it('has no attestation, or one with the passkey’s own key', async () => {
    const { account, person } = await newPerson();
    const passkey = await SoftwarePasskey.of(gatehouse.issuer);
    const renamed = (format: string, certificates?: Attestation['statement']): RegistrationParts => ({
      attest: (signed) => {
        const { statement } = passkey.selfAttestation(signed);
        return { format, statement: new Map([...statement, ...(certificates ?? [])]) };
      },
    });
    for (const format of ['none', 'tpm', 'android-key', 'android-safetynet', 'fido-u2f', 'apple', 'compound', ''])
      assertRefused(await register(person, passkey, renamed(format)), format);
    for (const x5c of [[], [new Uint8Array(9)], 0, null])
      assertRefused(await register(person, passkey, renamed('packed', new Map([['x5c', x5c]]))), 'with x5c');
    const anotherKey = await SoftwarePasskey.of(gatehouse.issuer);
    const attest: RegistrationParts['attest'] = (signed) => anotherKey.selfAttestation(signed);
    assertRefused(await register(person, passkey, { attest }), 'signed with another key');
    assert.match((await register(person, passkey, renamed('packed'))).page, /It has been added/);
    assert.equal((await stored(account.accountId)).length, 1);
  });

  it('has an id, a key and transports of the usual size', async () => {
    const { account, person } = await newPerson();
    const long = await SoftwarePasskey.of(gatehouse.issuer, { idBytes: 2_500 });
    assertRefused(await register(person, long, { claimedId: 'AAAA' }), 'an id that no index takes');
    assertRefused(await register(person, long), 'the same id in both places');
    const passkey = await SoftwarePasskey.of(gatehouse.issuer);
    assertRefused(await register(person, passkey, { claimedId: 'AAAA' }), 'another id');
    const keyMembers = new Map([[-70_000, new Uint8Array(2_000)]]);
    assertRefused(await register(person, passkey, { keyMembers }), 'a large key');
    assertRefused(await register(person, passkey, { transports: Array<string>(11).fill('usb') }), 'many transports');
    const transports = ['hybrid', 'a\u0000b', '\ud800', 'usb', 'usb', 'cable'];
    assert.match((await register(person, passkey, { transports })).page, /It has been added/);
    assert.deepEqual((await stored(account.accountId))[0]?.transports, ['usb', 'hybrid']);
  });

  it('has the challenge as the server wrote it', async () => {
    const { person } = await newPerson();
    const { page } = await person.walk(url);
    const { challenge } = optionsIn(page);
    const bytes = [...Buffer.from(challenge, 'base64url')];
    for (const other of [bytes, { type: 'Buffer', data: bytes }, `${challenge}==`, ` ${challenge}`, 1, null, {}]) {
      const passkey = await SoftwarePasskey.of(gatehouse.issuer);
      const answer = send(person, () => passkey.register({ challenge: '' }, { challenge: other }));
      assertRefused(await answer, JSON.stringify(other));
    }
    const passkey = await SoftwarePasskey.of(gatehouse.issuer);
    assert.match((await send(person, () => passkey.register({ challenge }))).page, /It has been added/);
  });

  it('is no valid answer if it is no registration at all', async () => {
    const { person } = await newPerson();
    const passkey = await SoftwarePasskey.of(gatehouse.issuer);
    const { page } = await person.walk(url);
    const honest = JSON.parse(await passkey.register(optionsIn(page))) as { readonly response: object };
    const withPart = (part: object): string => JSON.stringify({ ...honest, response: { ...honest.response, ...part } });
    const encoded = (bytes: Buffer): string => bytes.toString('base64url');
    const endless = { attestationObject: encoded(Buffer.from('bb7fffffffffffffff', 'hex')) };
    const deep = { attestationObject: encoded(Buffer.alloc(6_000, 0x81)) };
    const parts = [
      endless,
      deep,
      { attestationObject: encoded(Buffer.from('null')) },
      { attestationObject: 'oA' },
      { clientDataJSON: encoded(Buffer.from('null')) },
      { clientDataJSON: 'AA' },
      { transports: 1 },
    ];
    for (const registration of ['null', '[]', '{', '"a"', '\u0000', '['.repeat(4_000), ...parts.map(withPart)])
      assertRefused(await send(person, () => Promise.resolve(registration)), registration.slice(0, 60));
  });

  it('is refused at a login without an error of the server', async () => {
    const { person, account } = await newPerson();
    const passkey = await SoftwarePasskey.of(gatehouse.issuer);
    assert.match((await register(person, passkey)).page, /It has been added/);
    const visitor = new Person(gatehouse);
    const { page, url: at } = await visitor.open(`${gatehouse.issuer}/account/login`);
    const action = new URL(/action="([^"]*\/passkey)"/.exec(page)?.[1] ?? '', at);
    const options = optionsIn(page);
    const bytes = [...Buffer.from(options.challenge, 'base64url')];
    for (const other of [bytes, { type: 'Buffer', data: bytes }, `${options.challenge}==`, 1, null]) {
      const { response } = await visitor.submit(action, { passkey: passkey.assert(options, other) });
      assert.equal(response.status, 401, JSON.stringify(other));
    }
    const done = await visitor.submit(action, { passkey: passkey.assert(options) });
    assert.match(done.page, new RegExp(account.email));
  });
});
