import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { describe, it } from 'node:test';
import { bootstrapFile, masterKeyFile, readConfig } from '../../src/config.ts';
import { complaints } from '../support/node/config_complaints.ts';
import { HEX, ISSUER_SENTENCE, NO_DEMANDS, TLS, VARIABLES } from '../support/node/config_variables.ts';

const PRODUCTION = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgres://gatehouse@database/gatehouse',
  ISSUER: 'https://id.example.com',
  GATEHOUSE_MASTER_KEY: HEX,
};

describe('the configuration', () => {
  for (const { name, good, bad, sentence, beside } of VARIABLES) {
    for (const [given, member, becomes] of good) {
      it(`takes ${name}=${given}`, () => assert.deepEqual(readConfig({ ...beside, [name]: given })[member], becomes));
    }
    for (const given of bad) {
      it(`refuses ${name}=${given.slice(0, 70)} with one sentence`, () => {
        assert.deepEqual(complaints({ ...beside, [name]: given }), [`${name} ${sentence}`]);
      });
    }
  }

  it('has a default for everything, fit for development', () => {
    assert.deepEqual(readConfig({}), {
      production: false,
      developmentIsSaid: false,
      issuer: 'http://localhost:3000',
      workers: 1,
      host: '127.0.0.1',
      secondHost: '::1',
      port: 3000,
      adminPort: undefined,
      adminUrl: undefined,
      managementHost: '127.0.0.1',
      managementPort: undefined,
      databaseUrl: undefined,
      ownerDatabaseUrl: undefined,
      databaseMaxConnections: 20,
      databasePatienceMilliseconds: 600,
      outageSeconds: 300,
      outageAuditEvents: 100_000,
      dataDir: resolve('.gatehouse'),
      profile: 'standard',
      masterKeys: [],
      trustedProxies: [],
      tls: undefined,
      clientCaFile: undefined,
      clientCertificateHeader: undefined,
      mtlsUrl: undefined,
      egressAllow: [],
      logLevel: 'info',
      keyRotationDays: 30,
      rsaBits: 3_072,
      jwksMaxAgeSeconds: 300,
      refreshGraceSeconds: 10,
      refreshTtlSeconds: 1_209_600,
      refreshAbsoluteTtlSeconds: 7_776_000,
      sessionTtlSeconds: 1_209_600,
      sessionAbsoluteTtlSeconds: 2_592_000,
      clientDemands: NO_DEMANDS,
      clientRequests: { perSecond: 1_000, burst: 2_000 },
      addressRequests: { perSecond: 100, burst: 1_000 },
      failedAuthenticationsPerMinute: 20,
      registrationsPerAddress: 100,
      passwordMinLength: 15,
      passwordMinLengthWithSecondFactor: 8,
      breachedPasswordsUrl: undefined,
      passwordWords: [],
      passwordsByLinkOnly: false,
      mail: {
        kind: 'development',
        folder: resolve('.gatehouse/mails'),
        from: 'Gatehouse <gatehouse@localhost>',
      },
      overloadMilliseconds: 100,
      answerMilliseconds: 5_000,
      changePollMilliseconds: 500,
      clockDifferenceSeconds: 10,
      auditRetentionDays: 400,
      auditCheckpointSeconds: 60,
      shutdownDelaySeconds: 0,
      shutdownGraceSeconds: 15,
      passkeyRpId: 'localhost',
      requiredAcr: undefined,
      serviceLinks: [],
    });
  });

  it('gives each worker connections to the database: five unless told, and never fewer than two', () => {
    const connections = (workers: string, given?: string) =>
      readConfig({ GATEHOUSE_WORKERS: workers, GATEHOUSE_DATABASE_MAX_CONNECTIONS: given }).databaseMaxConnections;
    assert.deepEqual([connections('2'), connections('16'), connections('16', '32')], [20, 80, 32]);
    assert.deepEqual(complaints({ GATEHOUSE_WORKERS: '16', GATEHOUSE_DATABASE_MAX_CONNECTIONS: '31' }), [
      'GATEHOUSE_DATABASE_MAX_CONNECTIONS must be at least 32 for GATEHOUSE_WORKERS=16.',
    ]);
  });

  it('lets no session lie unused for longer than it lasts (FIELD-E9)', () => {
    const short = readConfig({ GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: '86400' });
    assert.equal(short.sessionTtlSeconds, 86_400);
    assert.deepEqual(complaints({ GATEHOUSE_SESSION_TTL_SECONDS: '2592001' }), [
      'GATEHOUSE_SESSION_TTL_SECONDS must be at most GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS (2592000): lower the former, or raise the latter.',
    ]);
  });

  it('names its issuer after its port where none is set', () => {
    assert.equal(readConfig({ PORT: '4000' }).issuer, 'http://localhost:4000');
  });

  const source = 'also needs GATEHOUSE_TLS_PORT or GATEHOUSE_CLIENT_CERTIFICATE_HEADER: the source of certificates.';
  for (const [name, given, sentence] of [
    ['GATEHOUSE_TLS_PORT', '8443', 'also needs GATEHOUSE_TLS_KEY_FILE.'],
    ['GATEHOUSE_TLS_HOST', '::', 'also needs GATEHOUSE_TLS_PORT.'],
    ['GATEHOUSE_TLS_CERTIFICATE_FILE', 'a.pem', 'also needs GATEHOUSE_TLS_PORT.'],
    ['GATEHOUSE_TLS_KEY_FILE', 'a.pem', 'also needs GATEHOUSE_TLS_PORT.'],
    ['GATEHOUSE_CLIENT_CA_FILE', 'a.pem', source],
    ['GATEHOUSE_MTLS_URL', 'https://mtls.id.example.com', source],
    [
      'GATEHOUSE_CLIENT_CERTIFICATE_HEADER',
      'Client-Cert',
      'also needs GATEHOUSE_TRUSTED_PROXIES: the proxies that may send this header.',
    ],
  ] as const) {
    it(`refuses ${name} by itself`, () => assert.deepEqual(complaints({ [name]: given }), [`${name} ${sentence}`]));
  }

  it('knows where its TLS listener is for an http issuer, and asks for the address for an https one', () => {
    assert.equal(readConfig({ ...TLS, ISSUER: 'http://localhost:3000/id' }).mtlsUrl, 'https://localhost:8443/id');
    assert.equal(readConfig({ ...TLS, ISSUER: 'https://id.example.com' }).mtlsUrl, undefined);
  });

  it('takes an empty variable for one that is not set', () => {
    const names = new Set([...VARIABLES.map(({ name }) => name), 'GATEHOUSE_OF_A_LATER_VERSION']);
    assert.deepEqual(readConfig(Object.fromEntries([...names].map((name) => [name, '']))), readConfig({}));
  });

  it('can not be changed by the code that holds it', () => {
    assert.ok(Object.isFrozen(readConfig({})));
  });

  it('is told about a variable of ours that it does not know, and leaves those of others alone', () => {
    assert.deepEqual(complaints({ GATEHOUSE_TRUSTED_PROXY: '10.0.0.1', PORTS: '1', toString: '1' }), [
      'GATEHOUSE_TRUSTED_PROXY is not a variable of Gatehouse.',
    ]);
  });

  it('names every bad variable in one message, once', () => {
    const firstBad = VARIABLES.flatMap(({ name, bad }) => (bad[0] === undefined ? [] : [[name, bad[0]] as const]));
    const all = Object.fromEntries(firstBad.toReversed());
    const named = complaints({ ...all, GATEHOUSE_X: '1' }).map((line) => String(line.split(' ')[0]));
    assert.deepEqual(named.toSorted(), [...Object.keys(all), 'GATEHOUSE_X'].toSorted());
  });

  it('never quotes a value: it may be a secret in the wrong place', () => {
    const secret = 'hunter2-hunter2-hunter2';
    const names = [...new Set(VARIABLES.map(({ name }) => name)), 'GATEHOUSE_SECRET'];
    for (const name of names.filter((one) => !/HOST|DATA_DIR|PASSWORD_WORDS/.test(one))) {
      const said = complaints({ [name]: secret });
      assert.ok(said.length > 0, name);
      assert.ok(said.every((line) => !line.includes(secret)));
    }
  });

  it('keeps the files of development in the data folder', () => {
    const config = readConfig({ GATEHOUSE_DATA_DIR: '/var/lib/gatehouse' });
    assert.equal(masterKeyFile(config), '/var/lib/gatehouse/master.key');
    assert.equal(bootstrapFile(config), '/var/lib/gatehouse/bootstrap.json');
  });
});

describe('the configuration in production', () => {
  it('is complete with a database, an issuer and a master key', () => {
    const { production, issuer, managementPort, shutdownDelaySeconds } = readConfig(PRODUCTION);
    assert.deepEqual(
      { production, issuer, managementPort, shutdownDelaySeconds },
      { production: true, issuer: 'https://id.example.com', managementPort: 9000, shutdownDelaySeconds: 3 },
    );
  });

  it('demands what development does without, together with everything else that is bad', () => {
    assert.deepEqual(complaints({ NODE_ENV: 'production', PORT: 'http' }), [
      'DATABASE_URL is required in production, such as postgres://user:password@host:5432/database.',
      'ISSUER is required in production, such as https://id.example.com.',
      'GATEHOUSE_MASTER_KEY is required in production: 32 random bytes; make them with: openssl rand -base64 32.',
      'PORT must be a port number from 1 to 65535.',
    ]);
  });

  const unsafe: readonly [setting: Readonly<Record<string, string>>, complaint: string][] = [
    [{ ISSUER: 'http://localhost:3000' }, 'ISSUER must use https in production.'],
    [{ ISSUER: 'nonsense' }, `ISSUER ${ISSUER_SENTENCE}`],
    [{ LOG_LEVEL: 'trace' }, 'LOG_LEVEL must not be trace in production; use info, or debug for a while.'],
    [{ LOG_LEVEL: 'silent' }, 'LOG_LEVEL must not be silent in production; use info, or debug for a while.'],
    ...['0.0.0.0/0', '10.0.0.0/8, ::/0', '0.0.0.0/00 '].map((GATEHOUSE_TRUSTED_PROXIES): (typeof unsafe)[number] => [
      { GATEHOUSE_TRUSTED_PROXIES },
      'GATEHOUSE_TRUSTED_PROXIES must not trust every address; name your proxies.',
    ]),
  ];
  for (const [setting, complaint] of unsafe) {
    it(`refuses ${Object.entries(setting).flat().join('=')}`, () => {
      assert.deepEqual(complaints({ ...PRODUCTION, ...setting }), [complaint]);
    });
  }
});
