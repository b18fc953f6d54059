import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isSameUri, looksLike } from '../../src/base/uri.ts';

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

  it('look alike if a person may take one for the other (FIELD-E5)', () => {
    const own = 'https://id.example.com/tenant';
    const alike = ['/', '//', '?x=1', '/#x', ''].map((end) => own + end);
    for (const uri of [...alike, 'https://x@ID.example.com:443/%74enant', 'https://id.example.com/a/../tenant'])
      assert.equal(looksLike(uri, own), true, uri);
    for (const uri of ['https://id.example.com', `${own}/api`, 'https://id.example.org/tenant', 'nothing', 'urn:x'])
      assert.equal(looksLike(uri, own), false, uri);
  });
});
