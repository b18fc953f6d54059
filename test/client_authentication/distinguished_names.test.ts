import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { canonicalName, canonicalSubject } from '../../src/base/distinguished_name.ts';
import { certify, type CertificateParts } from '../support/network/certificates.ts';

describe('distinguished names (RFC 4514)', () => {
  for (const [what, one, other] of [
    ['with spaces between their parts', 'CN=payments, O = Example Bank', 'CN=payments,O=Example Bank'],
    ['with types in any case, by name or as an OID', 'cn=a,2.5.4.10=b', 'CN=a,O=b'],
    ['with escaped characters or bytes', 'O=Example Bank\\, AG', 'O=Example Bank\\2C AG'],
    ['with letters beyond ASCII, as they are or escaped', 'O=M\u00fcller', 'O=M\\C3\\BCller'],
    ['with the value of an OID as DER', '2.5.4.97=#0c0750534444452d31', 'organizationIdentifier=PSDDE-1'],
    ['with several attributes in one part, in any order', 'CN=a+OU=b,O=c', 'OU=b + CN=a,O=c'],
  ] as const) {
    it(`are the same ${what}`, () => {
      assert.notEqual(canonicalName(one), undefined);
      assert.equal(canonicalName(one), canonicalName(other));
    });
  }

  for (const [one, other] of [
    ['CN=a,O=b', 'O=b,CN=a'],
    ['CN=a', 'CN=A'],
    ['CN=a', 'CN=a,O=b'],
    ['CN=a,CN=a', 'CN=a'],
    ['CN=a\\,O=b', 'CN=a,O=b'],
    ['CN=a\\+OU=b', 'CN=a+OU=b'],
    ['CN=a\\ ', 'CN=a'],
    ['CN=\\#0c0161', 'CN=#0c0161'],
    ['CN=a\\00', 'CN=a'],
  ] as const) {
    it(`are not the same: ${one} and ${other}`, () => {
      assert.notEqual(canonicalName(one), undefined);
      assert.notEqual(canonicalName(one), canonicalName(other));
    });
  }

  for (const [subject, name] of [
    [[{ C: ['DE'] }, { O: ['Example Bank, AG'] }, { CN: ['payments'] }], 'CN=payments,O=Example Bank\\, AG,C=DE'],
    [[{ CN: ['x\nO=Example Bank'] }], 'CN=x\\0AO=Example Bank'],
    [[{ CN: ['pay\0ments'] }], 'CN=pay\\00ments'],
    [[{ CN: [' a, b+c="<>; '] }], 'CN=\\ a\\, b\\+c=\\"\\<\\>\\;\\ '],
    [[{ O: ['b'] }, { CN: ['a'], OU: ['c'] }], 'CN=a+OU=c,O=b'],
    [[{ '2.5.4.97': ['PSDDE-1'] }], 'organizationIdentifier=PSDDE-1'],
    [[{ CN: ['M\u00fcller'] }], 'CN=M\u00fcller'],
  ] as readonly (readonly [NonNullable<CertificateParts['subject']>, string])[]) {
    it(`of a certificate are read as they are: ${JSON.stringify(subject)}`, async () => {
      const { certificate } = await certify({ subject });
      assert.notEqual(canonicalName(name), undefined);
      assert.equal(canonicalSubject(certificate.subject), canonicalName(name));
    });
  }

  it('of a certificate that has none are no name', async () => {
    assert.equal(canonicalSubject(undefined), undefined);
  });
});
