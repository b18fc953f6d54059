/** The parameter `sslmode` in the URL of a database. */

/**
 * Returns the URL with `verify-full` instead of the modes that the driver treats as `verify-full`. The driver warns
 * about them on standard error, and its next version would no longer verify the server's certificate with them.
 */
export function withVerifiedTls(connectionString: string): string {
  if (/[?&]uselibpqcompat=true(&|$)/.test(connectionString)) return connectionString;
  return connectionString.replace(/(?<=[?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/g, 'verify-full');
}
