/** Everything that may be set: what each good value becomes, and what is said of each bad one. */
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import type { Config } from '../../../src/config.ts';

export const HEX = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';
const KEY = Buffer.from(HEX, 'hex');

interface Variable {
  readonly name: string;
  readonly good: readonly [given: string, member: keyof Config, becomes: unknown][];
  readonly bad: readonly string[];
  readonly sentence: string;
  /** Set beside it, where it does not stand alone. */
  readonly beside?: Readonly<Record<string, string>>;
}

const whole = (name: string, member: keyof Config, minimum: number, maximum: number): Variable => ({
  name,
  good: [
    [String(minimum), member, minimum],
    [String(maximum), member, maximum],
  ],
  bad: [String(minimum - 1), String(maximum + 1), '1.5', '1e1', '0x10', ' 5', '5s', 'many', '9'.repeat(400)],
  sentence: `must be a whole number from ${minimum} to ${maximum}.`,
});

const PORT_SENTENCE = 'must be a port number from 1 to 65535.';
export const ISSUER_SENTENCE =
  'must be an absolute URL without query, fragment or user, such as https://id.example.com.';
const MASTER_KEY_SENTENCE = 'must be 32 random bytes in base64 or hex; make one with: openssl rand -base64 32.';
const badPorts = ['0', '65536', '-1', '80.5', 'http', '3000 ', '0x50'];
const badKeys = [
  HEX.slice(2),
  `${HEX}00`,
  KEY.subarray(1).toString('base64'),
  'password',
  'g'.repeat(64),
  'A'.repeat(43),
];

export const TLS = {
  GATEHOUSE_TLS_PORT: '8443',
  GATEHOUSE_TLS_CERTIFICATE_FILE: 'c.pem',
  GATEHOUSE_TLS_KEY_FILE: 'k.pem',
};
const listener = { host: '127.0.0.1', port: 8443, certificateFile: 'c.pem', keyFile: 'k.pem' };

export const NO_DEMANDS = {
  pushedRequests: false,
  senderConstrainedTokens: false,
  strongAuthentication: false,
  responseModes: ['query', 'fragment', 'form_post', 'jwt', 'query.jwt', 'fragment.jwt', 'form_post.jwt'],
};

export const VARIABLES: readonly Variable[] = [
  {
    name: 'NODE_ENV',
    good: [
      ['development', 'production', false],
      ['test', 'production', false],
    ],
    bad: ['Production', 'prod', 'staging'],
    sentence: 'must be production, development or test.',
  },
  {
    name: 'ISSUER',
    good: [
      ['https://id.example.com', 'issuer', 'https://id.example.com'],
      ['https://ID.example.com:443/', 'issuer', 'https://id.example.com'],
      ['https://example.com/id/', 'issuer', 'https://example.com/id'],
      ['http://localhost:3000', 'issuer', 'http://localhost:3000'],
      ['http://127.0.0.2:3000', 'issuer', 'http://127.0.0.2:3000'],
      ['http://[::1]:3000', 'issuer', 'http://[::1]:3000'],
    ],
    bad: [
      'id.example.com',
      '/id',
      'ftp://id.example.com',
      'https://id.example.com?',
      'https://id.example.com?a=b',
      'https://id.example.com#',
      'https://id.example.com/#top',
      'https://user@id.example.com',
      'https://user:pass@id.example.com',
      'javascript:alert(1)',
    ],
    sentence: ISSUER_SENTENCE,
  },
  {
    name: 'ISSUER',
    good: [],
    bad: ['http://id.example.com', 'http://127.0.0.1.example.com', 'http://localhost.example.com', 'http://0.0.0.0'],
    sentence: 'must use https; plain http is for a loopback address during development only.',
  },
  { name: 'HOST', good: [['0.0.0.0', 'host', '0.0.0.0']], bad: [], sentence: '' },
  {
    name: 'PORT',
    good: [
      ['1', 'port', 1],
      ['65535', 'port', 65_535],
    ],
    bad: badPorts,
    sentence: PORT_SENTENCE,
  },
  {
    name: 'DATABASE_URL',
    good: [
      ['postgres://u:p@h:5432/d', 'databaseUrl', 'postgres://u:p@h:5432/d'],
      ['postgresql:///d?host=/run/postgresql', 'databaseUrl', 'postgresql:///d?host=/run/postgresql'],
    ],
    bad: ['mysql://h/d', 'localhost:5432', 'h', 'postgres://u:a#b@h/d'],
    sentence: 'must look like postgres://user:password@host:5432/database.',
  },
  {
    name: 'GATEHOUSE_OWNER_DATABASE_URL',
    good: [['postgres://o:p@h:5432/d', 'ownerDatabaseUrl', 'postgres://o:p@h:5432/d']],
    bad: ['mysql://h/d', 'localhost:5432', 'h'],
    sentence: 'must look like postgres://user:password@host:5432/database.',
    beside: { DATABASE_URL: 'postgres://u:p@h:5432/d' },
  },
  {
    name: 'LOG_LEVEL',
    good: [
      ['fatal', 'logLevel', 'fatal'],
      ['silent', 'logLevel', 'silent'],
    ],
    bad: ['INFO', 'verbose', '30'],
    sentence: 'must be fatal, error, warn, info, debug, trace or silent.',
  },
  { name: 'GATEHOUSE_MANAGEMENT_HOST', good: [['::', 'managementHost', '::']], bad: [], sentence: '' },
  {
    name: 'GATEHOUSE_MANAGEMENT_PORT',
    good: [['9100', 'managementPort', 9100]],
    bad: badPorts,
    sentence: PORT_SENTENCE,
  },
  {
    name: 'GATEHOUSE_ADMIN_PORT',
    good: [
      ['3001', 'adminPort', 3001],
      ['3001', 'adminUrl', 'http://localhost:3001'],
    ],
    bad: badPorts,
    sentence: PORT_SENTENCE,
  },
  {
    name: 'GATEHOUSE_ADMIN_URL',
    good: [['https://admin.id.example.com/', 'adminUrl', 'https://admin.id.example.com']],
    bad: ['admin.id.example.com', 'https://admin.id.example.com?a'],
    sentence: ISSUER_SENTENCE,
    beside: { GATEHOUSE_ADMIN_PORT: '3001' },
  },
  {
    name: 'GATEHOUSE_WORKERS',
    good: [
      ['auto', 'workers', availableParallelism()],
      ['1', 'workers', 1],
      ['128', 'workers', 128],
    ],
    bad: ['0', '129', '-1', '1.5', 'all', 'AUTO', ' 2', '2 '],
    sentence: 'must be auto or a whole number from 1 to 128.',
  },
  whole('GATEHOUSE_DATABASE_MAX_CONNECTIONS', 'databaseMaxConnections', 2, 500),
  whole('GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS', 'databasePatienceMilliseconds', 100, 10_000),
  whole('GATEHOUSE_OUTAGE_SECONDS', 'outageSeconds', 0, 3_600),
  whole('GATEHOUSE_OUTAGE_AUDIT_EVENTS', 'outageAuditEvents', 1, 1_000_000),
  {
    name: 'GATEHOUSE_PROFILE',
    good: [
      ['standard', 'profile', 'standard'],
      ['mcp', 'profile', 'mcp'],
    ],
    bad: ['MCP', 'open', 'mcp,standard'],
    sentence: 'must be standard or mcp.',
  },
  { name: 'GATEHOUSE_DATA_DIR', good: [['data', 'dataDir', resolve('data')]], bad: [], sentence: '' },
  {
    name: 'GATEHOUSE_MASTER_KEY',
    good: [HEX, HEX.toUpperCase(), KEY.toString('base64'), KEY.toString('base64url')].map((given) => [
      given,
      'masterKeys',
      [KEY],
    ]),
    bad: [...badKeys, '00'.repeat(32)],
    sentence: MASTER_KEY_SENTENCE,
  },
  {
    name: 'GATEHOUSE_MASTER_KEY_PREVIOUS',
    good: [[HEX, 'masterKeys', [KEY.toReversed(), KEY].map((key) => Buffer.from(key))]],
    bad: badKeys,
    sentence: MASTER_KEY_SENTENCE,
    beside: { GATEHOUSE_MASTER_KEY: Buffer.from(KEY.toReversed()).toString('hex') },
  },
  {
    name: 'GATEHOUSE_MASTER_KEY_PREVIOUS',
    good: [],
    bad: [HEX],
    sentence: 'also needs GATEHOUSE_MASTER_KEY, the new key.',
  },
  {
    name: 'GATEHOUSE_TRUSTED_PROXIES',
    good: [
      ['10.0.0.7', 'trustedProxies', ['10.0.0.7']],
      [' 10.0.0.0/8 ,fd00::/8, ', 'trustedProxies', ['10.0.0.0/8', 'fd00::/8']],
      ['0.0.0.0/0', 'trustedProxies', ['0.0.0.0/0']],
    ],
    bad: [
      '*',
      'proxy.internal',
      '10.0.0.0/33',
      'fd00::/129',
      '10.0.0.0/8/8',
      '10.0.0/8',
      '10.0.0.7 10.0.0.8',
      '10.0.0.0/',
    ],
    sentence: 'must list addresses and networks, such as 10.0.0.7, 10.1.0.0/16.',
  },
  {
    name: 'GATEHOUSE_TLS_PORT',
    good: [['8444', 'tls', { ...listener, port: 8444 }]],
    bad: badPorts,
    sentence: PORT_SENTENCE,
    beside: TLS,
  },
  ...[
    ['GATEHOUSE_TLS_HOST', '::', { ...listener, host: '::' }] as const,
    ['GATEHOUSE_TLS_CERTIFICATE_FILE', 'a.pem', { ...listener, certificateFile: 'a.pem' }] as const,
    ['GATEHOUSE_TLS_KEY_FILE', 'a.pem', { ...listener, keyFile: 'a.pem' }] as const,
  ].map(([name, given, becomes]): Variable => ({
    name,
    good: [[given, 'tls', becomes]],
    bad: [],
    sentence: '',
    beside: TLS,
  })),
  {
    name: 'GATEHOUSE_CLIENT_CERTIFICATE_HEADER',
    good: [['Client-Cert', 'clientCertificateHeader', 'client-cert']],
    bad: ['Client Cert', 'x:y', 'client_cert', 'a'.repeat(65)],
    sentence: 'must be the name of a header, such as Client-Cert.',
    beside: { GATEHOUSE_TRUSTED_PROXIES: '10.0.0.7' },
  },
  {
    name: 'GATEHOUSE_CLIENT_CERTIFICATE_HEADER',
    good: [],
    bad: ['Authorization', 'cookie', 'DPoP', 'X-Forwarded-For', 'Content-Type'],
    sentence: 'must not be a header that has another meaning.',
    beside: { GATEHOUSE_TRUSTED_PROXIES: '10.0.0.7' },
  },
  {
    name: 'GATEHOUSE_CLIENT_CA_FILE',
    good: [['ca.pem', 'clientCaFile', 'ca.pem']],
    bad: [],
    sentence: '',
    beside: TLS,
  },
  {
    name: 'GATEHOUSE_MTLS_URL',
    good: [['https://mtls.id.example.com/', 'mtlsUrl', 'https://mtls.id.example.com']],
    bad: ['http://127.0.0.1:8443'],
    sentence: 'must use https.',
    beside: TLS,
  },
  {
    name: 'GATEHOUSE_PASSWORD_WORDS',
    good: [
      ['', 'passwordWords', []],
      [' Example , Project X ,', 'passwordWords', ['Example', 'Project X']],
      ['Zürich,東京タワー', 'passwordWords', ['Zürich', '東京タワー']],
    ],
    bad: ['abc', 'Example,!!!!', 'x'.repeat(65), `Exam${String.fromCodePoint(0)}ple`, 'four,'.repeat(201)],
    sentence: 'must list at most 200 words of 4 to 64 characters, separated by commas.',
  },
  {
    name: 'GATEHOUSE_EGRESS_ALLOW',
    good: [
      ['https://keys.internal.example:8443', 'egressAllow', ['https://keys.internal.example:8443']],
      [
        ' https://KEYS.example:443/ ,http://127.0.0.1:9400, ',
        'egressAllow',
        ['https://keys.example', 'http://127.0.0.1:9400'],
      ],
      ['http://[::1]:9400', 'egressAllow', ['http://[::1]:9400']],
    ],
    bad: [
      '*',
      'keys.internal.example:8443',
      'https://*.example.com',
      'https://keys.example/jwks',
      'https://keys.example?',
      'https://user@keys.example',
      'https://keys.example:99999',
      'https://a.example https://b.example',
      'ftp://keys.example',
    ],
    sentence: 'must list scheme, host and port, such as https://keys.internal.example:8443, http://127.0.0.1:9400.',
  },
  whole('GATEHOUSE_KEY_ROTATION_DAYS', 'keyRotationDays', 1, 365),
  {
    name: 'GATEHOUSE_RSA_BITS',
    good: [
      ['2048', 'rsaBits', 2_048],
      ['3072', 'rsaBits', 3_072],
      ['4096', 'rsaBits', 4_096],
    ],
    bad: ['1024', '3071', '8192', '0x800', ' 2048', '3072.0', 'strong'],
    sentence: 'must be 2048, 3072 or 4096.',
  },
  {
    name: 'GATEHOUSE_PASSKEY_RP_ID',
    beside: { ISSUER: 'https://id.example.com' },
    good: [],
    bad: ['https://example.com', 'Example.com', '.example.com', 'example.com.', 'example.com:443', '10.0.0.1', '*.com'],
    sentence: 'must be a domain name in lower case, such as example.com.',
  },
  {
    name: 'GATEHOUSE_PASSKEY_RP_ID',
    beside: { ISSUER: 'https://id.example.com' },
    good: [
      ['id.example.com', 'passkeyRpId', 'id.example.com'],
      ['example.com', 'passkeyRpId', 'example.com'],
    ],
    bad: ['com', 'other.example', 'ample.com', 'www.id.example.com'],
    sentence: 'must be the host of ISSUER (id.example.com), or a parent domain of it that has a dot.',
  },
  {
    name: 'GATEHOUSE_REQUIRED_ACR',
    good: [
      ['urn:gatehouse:acr:mfa', 'requiredAcr', 'urn:gatehouse:acr:mfa'],
      ['phr', 'requiredAcr', 'phr'],
    ],
    bad: ['urn:gatehouse:acr:password', 'phrh', 'mfa', 'true'],
    sentence: 'must be urn:gatehouse:acr:mfa or phr.',
  },
  {
    name: 'GATEHOUSE_REQUIRED_ACR',
    beside: { ISSUER: 'https://192.0.2.1' },
    good: [['urn:gatehouse:acr:mfa', 'requiredAcr', 'urn:gatehouse:acr:mfa']],
    bad: ['phr'],
    sentence: 'needs passkeys, which browsers refuse for an IP address: use a name in ISSUER instead of 192.0.2.1.',
  },
  whole('GATEHOUSE_JWKS_MAX_AGE_SECONDS', 'jwksMaxAgeSeconds', 0, 86_400),
  whole('GATEHOUSE_REFRESH_GRACE_SECONDS', 'refreshGraceSeconds', 0, 60),
  whole('GATEHOUSE_REFRESH_TTL_SECONDS', 'refreshTtlSeconds', 60, 31_536_000),
  whole('GATEHOUSE_REFRESH_ABSOLUTE_TTL_SECONDS', 'refreshAbsoluteTtlSeconds', 60, 157_680_000),
  {
    ...whole('GATEHOUSE_SESSION_TTL_SECONDS', 'sessionTtlSeconds', 60, 31_536_000),
    beside: { GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: '31536000' },
  },
  whole('GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS', 'sessionAbsoluteTtlSeconds', 60, 31_536_000),
  ...(
    [
      ['GATEHOUSE_REQUIRE_PUSHED_REQUESTS', 'pushedRequests'],
      ['GATEHOUSE_REQUIRE_SENDER_CONSTRAINED_TOKENS', 'senderConstrainedTokens'],
      ['GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION', 'strongAuthentication'],
    ] as const
  ).map(([name, member]): Variable => ({
    name,
    good: [
      ['true', 'clientDemands', { ...NO_DEMANDS, [member]: true }],
      ['false', 'clientDemands', NO_DEMANDS],
    ],
    bad: ['yes', '1', 'TRUE', 'on'],
    sentence: 'must be true or false.',
    beside: { NODE_ENV: 'test' },
  })),
  {
    name: 'GATEHOUSE_PASSWORDS_BY_LINK_ONLY',
    good: [
      ['true', 'passwordsByLinkOnly', true],
      ['false', 'passwordsByLinkOnly', false],
    ],
    bad: ['yes', '1', 'TRUE', 'on'],
    sentence: 'must be true or false.',
  },
  {
    name: 'GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION',
    good: [],
    bad: ['true'],
    sentence: 'is for NODE_ENV=production: the clients that development makes authenticate with secrets.',
  },
  {
    name: 'GATEHOUSE_RESPONSE_MODES',
    good: [
      ['form_post.jwt', 'clientDemands', { ...NO_DEMANDS, responseModes: ['form_post.jwt'] }],
      [' query , jwt,', 'clientDemands', { ...NO_DEMANDS, responseModes: ['query', 'jwt'] }],
    ],
    bad: ['web_message', 'Query', 'query query', 'query,query', ','],
    sentence:
      'must list response modes, each once: query, fragment, form_post, jwt, query.jwt, fragment.jwt, form_post.jwt.',
  },
  whole('GATEHOUSE_REGISTRATIONS_PER_ADDRESS', 'registrationsPerAddress', 1, 1_000_000),
  whole('GATEHOUSE_CHANGE_POLL_MILLISECONDS', 'changePollMilliseconds', 50, 900),
  whole('GATEHOUSE_CLOCK_DIFFERENCE_SECONDS', 'clockDifferenceSeconds', 0, 15),
  whole('GATEHOUSE_AUDIT_RETENTION_DAYS', 'auditRetentionDays', 0, 36_500),
  whole('GATEHOUSE_AUDIT_CHECKPOINT_SECONDS', 'auditCheckpointSeconds', 5, 3_600),
  whole('GATEHOUSE_SHUTDOWN_DELAY_SECONDS', 'shutdownDelaySeconds', 0, 60),
  whole('GATEHOUSE_SHUTDOWN_GRACE_SECONDS', 'shutdownGraceSeconds', 1, 300),
];
