/** A mail server that takes every mail and keeps it, or answers as a test wants. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';
import { eventually } from '../node/operator.ts';

export interface ReceivedMail {
  readonly to: string;
  readonly subject: string;
  /** The message as it came. */
  readonly source: string;
  /** The message with its content decoded. */
  readonly text: string;
  /** The links to one-time pages, without duplicates. */
  readonly links: readonly string[];
}

export interface MailServer {
  /** For GATEHOUSE_SMTP_URL. */
  readonly url: string;
  readonly mails: ReceivedMail[];
  /** An SMTP status with which it refuses each mail. */
  refusesWith: number | undefined;
  /** Waits for a mail to this address whose subject matches, and takes it from the list. */
  next(to: string, subject?: RegExp): Promise<ReceivedMail>;
  stop(): Promise<void>;
}

export async function startMailServer({ host = '127.0.0.1', port: wanted = 0 } = {}): Promise<MailServer> {
  const mails: ReceivedMail[] = [];
  const server = new SMTPServer({
    disabledCommands: ['STARTTLS', 'AUTH'],
    logger: false,
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { refusesWith } = mailServer;
        if (refusesWith !== undefined) {
          done(Object.assign(new Error('refused by the test'), { responseCode: refusesWith }));
          return;
        }
        const [recipient] = session.envelope.rcptTo;
        mails.push(readMail(String(recipient?.address), Buffer.concat(chunks).toString()));
        done();
      });
    },
  });
  server.listen(wanted, host);
  await once(server.server, 'listening');
  const { port } = server.server.address() as AddressInfo;
  const mailServer: MailServer = {
    url: `smtp://${host}:${port}`,
    mails,
    refusesWith: undefined,
    async next(to, subject = /./) {
      const isWanted = (mail: ReceivedMail): boolean => mail.to === to && subject.test(mail.subject);
      await eventually(() => Promise.resolve(mails.some(isWanted)), 15_000).catch(() => {
        throw new Error(
          `No mail to ${to} with ${subject}: ${mails.map((mail) => `${mail.to} ${mail.subject}`).join(', ')}`,
        );
      });
      return mails.splice(mails.findIndex(isWanted), 1)[0]!;
    },
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return mailServer;
}

function readMail(to: string, source: string): ReceivedMail {
  const text = source
    .replaceAll(/=\r?\n/g, '')
    .replaceAll(/(?:=[0-9A-F]{2})+/g, (bytes) => Buffer.from(bytes.replaceAll('=', ''), 'hex').toString());
  const subject = /^Subject: (.*(?:\r?\n[ \t].*)*)/m.exec(source)?.[1]?.replaceAll(/\r?\n/g, '') ?? '';
  const links = [...new Set(text.match(/https?:\/\/[^\s"<>]+\/link\/[\w-]{43}/g))];
  return { to, subject, source, text, links };
}
