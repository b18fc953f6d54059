import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clearerSpelling, isAtOrBelow, isSameUri } from '../../src/base/uri.ts';

describe('two URIs', () => {
  const same: readonly [string, string][] = [
    ['https://api.example.com', 'https://api.example.com/'],
    ['https://api.example.com', 'https://api.example.com:443/'],
    ['https://api.example.com', 'https://api.example.com:'],
    ['http://api.example.com', 'http://api.example.com:80'],
    ['https://api.example.com/mcp', 'HTTPS://API.example.com/mcp'],
    ['https://api.example.com?tenant=a', 'https://api.example.com/?tenant=a'],
    ['http://[::1]:80/x', 'http://[::1]/x'],
    ['URN:example:api', 'urn:example:api'],
    ['api://Notes', 'api://notes/'],
  ];
  for (const [one, other] of same) {
    it(`are the same: ${one} and ${other} (RFC 3986, 6.2; FIELD-C5)`, () => {
      assert.equal(isSameUri(one, other), true);
    });
  }

  const different: readonly [string, string][] = [
    ['https://api.example.com/mcp', 'https://api.example.com/mcp/'],
    ['https://api.example.com/mcp', 'https://api.example.com/MCP'],
    ['https://api.example.com/a', 'https://api.example.com/%61'],
    ['https://api.example.com/a', 'https://api.example.com/b/../a'],
    ['https://api.example.com', 'http://api.example.com'],
    ['https://api.example.com', 'https://api.example.com:80'],
    ['https://api.example.com', 'https://api.example.com.'],
    ['https://api.example.com', 'https://someone@api.example.com'],
    ['https://api.example.com', 'https://api.example.com?'],
    ['https://api.example.com', 'https://api.example.com/#x'],
    ['https://api.example.com', String.raw`https:\\api.example.com`],
    // the Kelvin sign, which is a k in lower case
    ['https://kiosk.example.com', 'https://\u212aiosk.example.com'],
    ['urn:example:api', 'urn:example:API'],
  ];
  for (const [one, other] of different) {
    it(`are two: ${one} and ${other} (FIELD-C5)`, () => {
      assert.equal(isSameUri(one, other), false);
    });
  }

  it('look alike if a person or a program may take one for the other, or for a URL below it (FIELD-E5)', () => {
    const own = 'https://id.example.com/tenant';
    const alike = ['/', '//', '?x=1', '/#x', '', '/api', '//userinfo', ';x', '%00', '%20', '%2Fapi'].map(
      (end) => own + end,
    );
    for (const uri of [
      ...alike,
      'https://x@ID.example.com:443/%74enant',
      'https://id.example.com/a/../tenant',
      'https://id.example.com/%2574enant/%zz',
      'https://id.example.com/TENANT/api',
      'https://id.example.com./tenant',
      'http://id.example.com/tenant',
      String.raw`https:id.example.com\tenant`,
    ])
      assert.equal(isAtOrBelow(uri, own), true, uri);
    for (const uri of [
      'https://id.example.com',
      'https://id.example.com/tenants',
      'https://id.example.com:8443/tenant',
      'https://id.example.org/tenant',
      'nothing',
      'urn:x',
    ])
      assert.equal(isAtOrBelow(uri, own), false, uri);
    assert.equal(isAtOrBelow('http://127.1:3000/USERINFO', 'http://127.0.0.1:3000'), true);
    assert.equal(isAtOrBelow('http://127.0.0.1:4000', 'http://127.0.0.1:3000'), false);
  });
});

describe('a URI', () => {
  const other: readonly [string, string][] = [
    ['https:ex.example', 'https://ex.example/'],
    ['https:/ex.example/a', 'https://ex.example/a'],
    ['https:///ex.example', 'https://ex.example/'],
    ['https://%65x.example', 'https://ex.example/'],
    ['https://[0:0::1]/', 'https://[::1]/'],
    ['https://ex.example/a/../b', 'https://ex.example/b'],
    ['http://127.1/', 'http://127.0.0.1/'],
    [String.raw`https://ex.example\a`, 'https://ex.example/a'],
  ];
  for (const [uri, clearer] of other) {
    it(`is clearer as ${clearer} than as ${uri} (FIELD-E5)`, () => {
      assert.equal(clearerSpelling(uri), clearer);
    });
  }

  it('is clear with or without an empty path, a default port and capital letters in the host (FIELD-E5)', () => {
    for (const uri of [
      'https://ex.example',
      'https://ex.example/',
      'https://Ex.example:443',
      'http://[::1]:80/x',
      'https://ex.example?tenant=a',
      'https://ex.example/%61/B?c=%20',
      'urn:example:Api',
      'api://Notes/../x',
      'nothing',
    ])
      assert.equal(clearerSpelling(uri), undefined, uri);
  });
});
