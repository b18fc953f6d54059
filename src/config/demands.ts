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
