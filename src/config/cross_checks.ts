/** What no variable shows by itself: what production takes, and which variables go together. */

/** Variables as they were set. */
export type Given = Readonly<Record<string, string | undefined>>;
/** What is wrong with a variable, as the rest of a sentence that begins with its name. */
export type Complaint = readonly [name: string, sentence: string];

export function demandsOfProduction(given: Given): Complaint[] {
  const complaints: Complaint[] = [];
  const { DATABASE_URL, ISSUER, LOG_LEVEL, GATEHOUSE_MASTER_KEY, GATEHOUSE_TRUSTED_PROXIES = '' } = given;
  if (!DATABASE_URL)
    complaints.push([
      'DATABASE_URL',
      'is required in production, such as postgres://user:password@host:5432/database.',
    ]);
  if (!ISSUER) complaints.push(['ISSUER', 'is required in production, such as https://id.example.com.']);
  else if (!/^https:/i.test(ISSUER)) complaints.push(['ISSUER', 'must use https in production.']);
  if (!GATEHOUSE_MASTER_KEY)
    complaints.push([
      'GATEHOUSE_MASTER_KEY',
      'is required in production: 32 random bytes; make them with: openssl rand -base64 32.',
    ]);
  if (LOG_LEVEL === 'trace' || LOG_LEVEL === 'silent')
    complaints.push(['LOG_LEVEL', `must not be ${LOG_LEVEL} in production; use info, or debug for a while.`]);
  if (GATEHOUSE_TRUSTED_PROXIES.split(',').some((network) => /\/0+\s*$/.test(network)))
    complaints.push(['GATEHOUSE_TRUSTED_PROXIES', 'must not trust every address; name your proxies.']);
  return complaints;
}

export function demandsOnPairs(given: Given): Complaint[] {
  const complaints: Complaint[] = [];
  const demand = (name: string, besides: readonly string[], sentence: string): void => {
    if (given[name] && !besides.some((other) => given[other])) complaints.push([name, sentence]);
  };
  // the previous key alone would quietly become the current one
  demand(
    'GATEHOUSE_MASTER_KEY_PREVIOUS',
    ['GATEHOUSE_MASTER_KEY'],
    'needs GATEHOUSE_MASTER_KEY, the new key, beside it.',
  );
  // a database of ours has one user
  demand(
    'GATEHOUSE_OWNER_DATABASE_URL',
    ['DATABASE_URL'],
    'needs DATABASE_URL beside it: the same database, for the user that the server works as.',
  );
  for (const file of ['GATEHOUSE_TLS_CERTIFICATE_FILE', 'GATEHOUSE_TLS_KEY_FILE']) {
    demand('GATEHOUSE_TLS_PORT', [file], `needs ${file} beside it.`);
  }
  for (const name of ['GATEHOUSE_TLS_HOST', 'GATEHOUSE_TLS_CERTIFICATE_FILE', 'GATEHOUSE_TLS_KEY_FILE']) {
    demand(name, ['GATEHOUSE_TLS_PORT'], 'needs GATEHOUSE_TLS_PORT beside it.');
  }
  demand(
    'GATEHOUSE_CLIENT_CERTIFICATE_HEADER',
    ['GATEHOUSE_TRUSTED_PROXIES'],
    'needs GATEHOUSE_TRUSTED_PROXIES beside it: the proxies that it is believed from.',
  );
  for (const name of ['GATEHOUSE_CLIENT_CA_FILE', 'GATEHOUSE_MTLS_URL']) {
    demand(
      name,
      ['GATEHOUSE_TLS_PORT', 'GATEHOUSE_CLIENT_CERTIFICATE_HEADER'],
      'needs GATEHOUSE_TLS_PORT or GATEHOUSE_CLIENT_CERTIFICATE_HEADER beside it: where certificates come from.',
    );
  }
  const { NODE_ENV = 'development', GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION: strong } = given;
  if (strong === 'true' && NODE_ENV === 'development') {
    complaints.push([
      'GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION',
      'is for NODE_ENV=production: the clients that development makes prove themselves with secrets.',
    ]);
  }
  demand('GATEHOUSE_ADMIN_URL', ['GATEHOUSE_ADMIN_PORT'], 'needs GATEHOUSE_ADMIN_PORT beside it.');
  return complaints;
}

const CONNECTIONS_OF_A_WORKER = 2;

/** What was parsed; `undefined` where something could not be. */
interface Workers {
  readonly GATEHOUSE_WORKERS: number;
  readonly GATEHOUSE_DATABASE_MAX_CONNECTIONS?: number | undefined;
}

export function demandsOfWorkers(env: Workers | undefined): Complaint[] {
  const { GATEHOUSE_WORKERS: count = 1, GATEHOUSE_DATABASE_MAX_CONNECTIONS: connections } = env ?? {};
  const least = CONNECTIONS_OF_A_WORKER * count;
  if (connections === undefined || connections >= least) return [];
  return [['GATEHOUSE_DATABASE_MAX_CONNECTIONS', `must be at least ${least} for the ${count} of GATEHOUSE_WORKERS.`]];
}

interface Sessions {
  readonly GATEHOUSE_SESSION_TTL_SECONDS?: number | undefined;
  readonly GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: number;
}

/** A session that may lie unused for longer than it lasts would be a promise that the server doesn't keep. */
export function demandsOfSessions(env: Sessions | undefined): Complaint[] {
  if (!env) return [];
  const { GATEHOUSE_SESSION_TTL_SECONDS: unused, GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: longest } = env;
  if (unused === undefined || unused <= longest) return [];
  const sentence = `must be at most GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS (${longest}): lower it, or raise that.`;
  return [['GATEHOUSE_SESSION_TTL_SECONDS', sentence]];
}
