/** What requests cost a server in time of its processor, on a machine that may be slow or busy. */
import { generateKeyPairSync, sign, verify } from 'node:crypto';

const VERIFICATIONS = 2_000;
/** What these take where nothing else runs, on the machine that the bounds were set on. */
const USUAL_MILLISECONDS = 130;

/** How much slower this machine is now; 1 at least. */
export function slowness(): number {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const text = Buffer.from('calibration');
  const signature = sign('sha256', text, privateKey);
  const before = process.cpuUsage();
  for (let times = 0; times < VERIFICATIONS; times++) verify('sha256', text, publicKey, signature);
  const { user, system } = process.cpuUsage(before);
  return Math.max(1, (user + system) / 1_000 / USUAL_MILLISECONDS);
}

/** Milliseconds that the server's process has worked so far, all of its threads together. */
export async function processorMilliseconds(managementUrl: string): Promise<number> {
  const text = await (await fetch(`${managementUrl}/metrics`)).text();
  const seconds = /^process_cpu_seconds_total\S* (\S+)/m.exec(text)?.[1];
  if (seconds === undefined) throw new Error('The server does not say how long it has worked.');
  return Number(seconds) * 1_000;
}
