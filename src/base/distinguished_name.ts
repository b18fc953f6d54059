/**
 * Compares X.509 subject names as text (RFC 4514). Attribute types may be names or OIDs. Values are compared exactly,
 * and the order of the parts matters.
 */

/** By their names in RFC 4519 and in OpenSSL: the attribute types in subjects of clients, including those of banks. */
const OIDS = new Map(
  Object.entries({
    cn: '2.5.4.3',
    commonname: '2.5.4.3',
    sn: '2.5.4.4',
    surname: '2.5.4.4',
    serialnumber: '2.5.4.5',
    c: '2.5.4.6',
    countryname: '2.5.4.6',
    l: '2.5.4.7',
    localityname: '2.5.4.7',
    st: '2.5.4.8',
    s: '2.5.4.8',
    stateorprovincename: '2.5.4.8',
    street: '2.5.4.9',
    streetaddress: '2.5.4.9',
    o: '2.5.4.10',
    organizationname: '2.5.4.10',
    ou: '2.5.4.11',
    organizationalunitname: '2.5.4.11',
    title: '2.5.4.12',
    businesscategory: '2.5.4.15',
    postalcode: '2.5.4.17',
    gn: '2.5.4.42',
    givenname: '2.5.4.42',
    dnqualifier: '2.5.4.46',
    organizationidentifier: '2.5.4.97',
    uid: '0.9.2342.19200300.100.1.1',
    userid: '0.9.2342.19200300.100.1.1',
    dc: '0.9.2342.19200300.100.1.25',
    domaincomponent: '0.9.2342.19200300.100.1.25',
    emailaddress: '1.2.840.113549.1.9.1',
    jurisdictionl: '1.3.6.1.4.1.311.60.2.1.1',
    jurisdictionst: '1.3.6.1.4.1.311.60.2.1.2',
    jurisdictionc: '1.3.6.1.4.1.311.60.2.1.3',
  }),
);

/** One element of a name: an escaped byte, an escaped character, or a character. */
const PIECE = /\\[0-9A-Fa-f]{2}|\\.|[^\\]/gsu;
const WHOLE = /^(?:\\.|[^\\])*$/su;

/** The same text for all spellings of a name; `undefined` if the text is not a name. */
export function canonicalName(text: string): string | undefined {
  if (!WHOLE.test(text)) return undefined;
  const parts = split(text, ',').map((part) => split(part, '+').map(attribute));
  if (parts.some((part) => part.includes(undefined))) return undefined;
  // the attributes of one part are a set, the parts are a sequence
  return JSON.stringify(parts.map((part) => part.map((one) => JSON.stringify(one)).toSorted()));
}

/** The canonical name of a subject in Node's form (one part per line, the first one on top, escaped as in RFC 4514). */
export function canonicalSubject(subject: string | undefined): string | undefined {
  return subject === undefined ? undefined : canonicalName(subject.split('\n').toReversed().join(','));
}

function attribute(text: string): readonly [oid: string, value: string] | undefined {
  const equals = text.indexOf('=');
  if (equals < 0) return undefined;
  const type = text.slice(0, equals).trim().toLowerCase();
  const oid = /^\d+(\.\d+)+$/.test(type) ? type : OIDS.get(type);
  const value = valueOf(text.slice(equals + 1));
  return oid === undefined || value === undefined ? undefined : [oid, value];
}

function valueOf(text: string): string | undefined {
  const pieces = text.match(PIECE) ?? [];
  while (pieces[0] === ' ') pieces.shift();
  while (pieces.at(-1) === ' ') pieces.pop();
  if (pieces.length === 0 || pieces.some((piece) => /^["<>;\0]$/.test(piece))) return undefined;
  if (pieces[0] === '#') return encodedString(pieces.slice(1).join(''));
  const bytes = pieces.map((piece) =>
    piece.length === 3 && piece.startsWith('\\')
      ? Buffer.from(piece.slice(1), 'hex')
      : Buffer.from(piece.replace(/^\\/, '')),
  );
  return Buffer.concat(bytes).toString('utf8');
}

/**
 * Decodes `#` and the DER of a UTF8String, PrintableString or IA5String, which some use for values of OIDs (RFC 4514,
 * section 2.4).
 */
function encodedString(hex: string): string | undefined {
  if (!/^([0-9a-f]{2})+$/i.test(hex)) return undefined;
  const [tag, length, ...value] = Buffer.from(hex, 'hex');
  if (![0x0c, 0x13, 0x16].includes(tag!) || length !== value.length || length > 127) return undefined;
  return Buffer.from(value).toString('utf8');
}

/** Splits at each separator that is not escaped. */
function split(text: string, separator: string): string[] {
  const parts = [''];
  for (const [piece] of text.matchAll(PIECE)) {
    if (piece === separator) parts.push('');
    else parts[parts.length - 1] += piece;
  }
  return parts;
}
