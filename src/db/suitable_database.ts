/** Checks at the start that the configured database can be reached and is suitable for Gatehouse. */
import type pg from 'pg';
import { CannotStart } from '../base/cannot_start.ts';
import { connectClient, createClient } from './connection.ts';
import { refuseSharedConnections } from './pooler.ts';
import { noConnectionLeft, reason } from './start_failure.ts';

const OLDEST_MAJOR = 15;

/** Throws `CannotStart` with one sentence that has no password in it. `variable` is the setting that holds the URL. */
export async function requireSuitableDatabase(connectionString: string, variable = 'DATABASE_URL'): Promise<void> {
  const client = await connect(connectionString, variable);
  try {
    await requireSuitable(client, variable);
    await refuseSharedConnections(client, () => connect(connectionString, variable));
  } finally {
    // a connection that does not answer must not delay the start
    client.end().catch(() => {});
  }
}

async function connect(connectionString: string, variable: string): Promise<pg.Client> {
  const client = create(connectionString, variable);
  client.on('error', () => {});
  try {
    await connectClient(client);
    return client;
  } catch (error) {
    client.end().catch(() => {});
    // a host that begins with a slash is the folder of a socket
    const place = client.host.startsWith('/') ? client.host : `${client.host}:${client.port}`;
    throw new CannotStart(whyUnreachable(place, error, variable), { cause: error });
  }
}

/** Throws `CannotStart` if the driver can not parse the URL or read the certificate files in it. */
function create(connectionString: string, variable: string): pg.Client {
  try {
    return createClient(connectionString);
  } catch (error) {
    throw new CannotStart(`${variable} can't be used: ${reason(error)}`, { cause: error });
  }
}

const UNKNOWN_AUTHORITY = /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_)/;

function whyUnreachable(place: string, error: unknown, variable: string): string {
  const code = String((error as { code?: unknown }).code);
  if (code === '53300') return noConnectionLeft(error);
  const message = `The database at ${place} can't be reached: ${reason(error)}`;
  if (UNKNOWN_AUTHORITY.test(code))
    return `${message} Name the file with the certificate of its authority: sslmode=verify-full&sslrootcert=/path/ca.pem in ${variable}.`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `${message} Use a host name in ${variable} that is in its certificate.`;
  if (/permission denied to set parameter/.test(reason(error)))
    return `${message} The database or the user of ${variable} sets this parameter to a value that Gatehouse can't use: reset it with ALTER ROLE … RESET or ALTER DATABASE … RESET.`;
  if (/unsupported startup parameter: options/.test(reason(error)))
    return `${message} Remove options from ${variable} and PGOPTIONS, and set their parameters (such as search_path) with ALTER ROLE.`;
  return `${message} Check ${variable}.`;
}

interface Found {
  readonly version: number;
  readonly encoding: string;
  readonly recovering: boolean;
  readonly read_only: boolean;
  readonly schema: string | null;
}

async function requireSuitable(client: pg.Client, variable: string): Promise<void> {
  const { rows } = await client.query<Found>(`select current_setting('server_version_num')::int as version,
    current_setting('server_encoding') as encoding, pg_is_in_recovery() as recovering,
    current_setting('transaction_read_only') = 'on' as read_only, current_schema() as schema`);
  const { version, encoding, recovering, read_only, schema } = rows[0]!;
  const major = Math.floor(version / 10_000);
  if (major < OLDEST_MAJOR)
    throw new CannotStart(`The database is PostgreSQL ${major}; Gatehouse needs ${OLDEST_MAJOR} or later.`);
  if (encoding !== 'UTF8')
    throw new CannotStart(
      `The database's encoding is ${encoding}; Gatehouse needs UTF8: create database … encoding 'UTF8' template template0.`,
    );
  if (recovering)
    throw new CannotStart(`The database is a standby, which is read-only: name the primary in ${variable}.`);
  if (read_only)
    throw new CannotStart(
      'The database is read-only: default_transaction_read_only is on for this server, this database or this user. Switch it off.',
    );
  if (schema === null)
    throw new CannotStart(
      'The search_path of this database or of this user names no schema that exists and that the user may use: create the schema, or change the search_path.',
    );
}
