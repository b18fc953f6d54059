/** `sslmode` in the URL of a database. */

/**
 * The same URL, with the modes that the driver takes for `verify-full` written as that. Today it warns of them on
 * standard error; its next version would no longer look at the server's certificate with them.
 */
export function withVerifiedTls(connectionString: string): string {
  if (/[?&]uselibpqcompat=true(&|$)/.test(connectionString)) return connectionString;
  return connectionString.replace(/(?<=[?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/g, 'verify-full');
}
