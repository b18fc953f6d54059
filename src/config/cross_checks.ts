/** Checks that concern more than one variable: the rules of production, and variables that depend on each other. */

/** Variables as they are set. */
export type Variables = Readonly<Record<string, string | undefined>>;
/** The problem of a variable, as the rest of a sentence that begins with its name. */
export type Complaint = readonly [name: string, sentence: string];

export function checkProduction(given: Variables): Complaint[] {
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

export function checkPairs(given: Variables): Complaint[] {
  const complaints: Complaint[] = [];
  const requireAny = (name: string, others: readonly string[], sentence: string): void => {
    if (given[name] && !others.some((other) => given[other])) complaints.push([name, sentence]);
  };
  // the previous key alone would silently become the current one
  requireAny(
    'GATEHOUSE_MASTER_KEY_PREVIOUS',
    ['GATEHOUSE_MASTER_KEY'],
    'also needs GATEHOUSE_MASTER_KEY, the new key.',
  );
  // the embedded database has one user
  requireAny(
    'GATEHOUSE_OWNER_DATABASE_URL',
    ['DATABASE_URL'],
    'also needs DATABASE_URL: the same database, with the user of the server.',
  );
  for (const file of ['GATEHOUSE_TLS_CERTIFICATE_FILE', 'GATEHOUSE_TLS_KEY_FILE']) {
    requireAny('GATEHOUSE_TLS_PORT', [file], `also needs ${file}.`);
  }
  for (const name of ['GATEHOUSE_TLS_HOST', 'GATEHOUSE_TLS_CERTIFICATE_FILE', 'GATEHOUSE_TLS_KEY_FILE']) {
    requireAny(name, ['GATEHOUSE_TLS_PORT'], 'also needs GATEHOUSE_TLS_PORT.');
  }
  requireAny(
    'GATEHOUSE_CLIENT_CERTIFICATE_HEADER',
    ['GATEHOUSE_TRUSTED_PROXIES'],
    'also needs GATEHOUSE_TRUSTED_PROXIES: the proxies that may send this header.',
  );
  for (const name of ['GATEHOUSE_CLIENT_CA_FILE', 'GATEHOUSE_MTLS_URL']) {
    requireAny(
      name,
      ['GATEHOUSE_TLS_PORT', 'GATEHOUSE_CLIENT_CERTIFICATE_HEADER'],
      'also needs GATEHOUSE_TLS_PORT or GATEHOUSE_CLIENT_CERTIFICATE_HEADER: the source of certificates.',
    );
  }
  const { NODE_ENV = 'development', GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION: strong } = given;
  if (strong === 'true' && NODE_ENV === 'development') {
    complaints.push([
      'GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION',
      'is for NODE_ENV=production: the clients that development makes authenticate with secrets.',
    ]);
  }
  for (const name of ['GATEHOUSE_SMTP_URL', 'GATEHOUSE_MAIL_FOLDER']) {
    requireAny(name, ['GATEHOUSE_MAIL_FROM'], 'also needs GATEHOUSE_MAIL_FROM: the address that mails come from.');
  }
  if (given['GATEHOUSE_SMTP_URL'] && given['GATEHOUSE_MAIL_FOLDER'])
    complaints.push(['GATEHOUSE_MAIL_FOLDER', 'must not be set together with GATEHOUSE_SMTP_URL; keep one of them.']);
  requireAny('GATEHOUSE_ADMIN_URL', ['GATEHOUSE_ADMIN_PORT'], 'also needs GATEHOUSE_ADMIN_PORT.');
  return complaints;
}

const CONNECTIONS_OF_A_WORKER = 2;

/** The parsed variables; `undefined` if some are invalid. */
interface Workers {
  readonly GATEHOUSE_WORKERS: number;
  readonly GATEHOUSE_DATABASE_MAX_CONNECTIONS?: number | undefined;
}

export function checkWorkers(env: Workers | undefined): Complaint[] {
  const { GATEHOUSE_WORKERS: count = 1, GATEHOUSE_DATABASE_MAX_CONNECTIONS: connections } = env ?? {};
  const least = CONNECTIONS_OF_A_WORKER * count;
  if (connections === undefined || connections >= least) return [];
  return [['GATEHOUSE_DATABASE_MAX_CONNECTIONS', `must be at least ${least} for GATEHOUSE_WORKERS=${count}.`]];
}

interface Sessions {
  readonly GATEHOUSE_SESSION_TTL_SECONDS?: number | undefined;
  readonly GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: number;
}

/** A session can't be unused for longer than it lasts. */
export function checkSessions(env: Sessions | undefined): Complaint[] {
  if (!env) return [];
  const { GATEHOUSE_SESSION_TTL_SECONDS: unused, GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: longest } = env;
  if (unused === undefined || unused <= longest) return [];
  const sentence = `must be at most GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS (${longest}): lower the former, or raise the latter.`;
  return [['GATEHOUSE_SESSION_TTL_SECONDS', sentence]];
}

interface PasswordLengths {
  readonly GATEHOUSE_PASSWORD_MIN_LENGTH: number;
  readonly GATEHOUSE_PASSWORD_MIN_LENGTH_WITH_SECOND_FACTOR: number;
}

/** A password that is used with a second factor may be shorter, not longer. */
export function checkPasswords(env: PasswordLengths | undefined): Complaint[] {
  if (!env || env.GATEHOUSE_PASSWORD_MIN_LENGTH_WITH_SECOND_FACTOR <= env.GATEHOUSE_PASSWORD_MIN_LENGTH) return [];
  const sentence = `must be at most GATEHOUSE_PASSWORD_MIN_LENGTH (${env.GATEHOUSE_PASSWORD_MIN_LENGTH}).`;
  return [['GATEHOUSE_PASSWORD_MIN_LENGTH_WITH_SECOND_FACTOR', sentence]];
}
