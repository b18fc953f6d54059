import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { LinkVisitor } from '../support/person/link_visitor.ts';
import { assertAccessible, setScene, textOf } from '../support/person/pages.ts';

const FROM = { GATEHOUSE_MAIL_FROM: 'Gatehouse <id@example.com>' };

describe('a mail', () => {
  it('is tried again, as the same one, if the mail server refuses it for now', async () => {
    const mailServer = await startMailServer();
    const gatehouse = await startGatehouse({ environment: { GATEHOUSE_SMTP_URL: mailServer.url, ...FROM } });
    try {
      mailServer.refusesWith = 451;
      await invite(gatehouse, 'later@example.com');
      await logged(gatehouse, 'outbox.postponed', 'EMESSAGE 451');
      mailServer.refusesWith = undefined;
      const mail = await mailServer.next('later@example.com');
      assert.match(mail.source, /^Message-ID: <message_[0-9A-Za-z]{22}@127\.0\.0\.1:\d+>/m);
      await logged(gatehouse, 'outbox.delivers_again');
      await eventually(async () => (await events(gatehouse, 'message.delivered')).length === 1);
      const [delivered] = await events(gatehouse, 'message.delivered');
      assert.deepEqual([delivered!.client_id, delivered!.details['kind']], [null, 'mail']);
      assert.ok(Number(delivered!.details['attempts']) >= 2);
      assert.match(delivered!.account_id ?? '', /^account_/);
      assert.ok(!gatehouse.log.some((line) => line.includes('later@example.com') || line.includes('by the test')));
    } finally {
      await gatehouse.stop();
      await mailServer.stop();
    }
  });

  it('is given up if the mail server refuses it for ever, and the trail says for whom', async () => {
    const mailServer = await startMailServer();
    const gatehouse = await startGatehouse({ environment: { GATEHOUSE_SMTP_URL: mailServer.url, ...FROM } });
    try {
      mailServer.refusesWith = 550;
      const accountId = await invite(gatehouse, 'never@example.com');
      await eventually(async () => (await events(gatehouse, 'message.failed')).length === 1, 10_000);
      const [failed] = await events(gatehouse, 'message.failed');
      assert.deepEqual([failed!.account_id, failed!.details['reason']], [accountId, 'EMESSAGE 550']);
      const rows = await gatehouse.database.selectFrom('outbox').select(['sealed', 'failure']).execute();
      assert.deepEqual(rows, [{ sealed: null, failure: 'EMESSAGE 550' }], 'the link is not kept');
    } finally {
      await gatehouse.stop();
      await mailServer.stop();
    }
  });

  it('waits for a mail server that is down, and one line of the log says so', async () => {
    const port = await freePort();
    let mailServer: MailServer | undefined;
    const gatehouse = await startGatehouse({
      environment: { GATEHOUSE_SMTP_URL: `smtp://127.0.0.1:${port}`, ...FROM },
    });
    try {
      await invite(gatehouse, 'first@example.com');
      await invite(gatehouse, 'second@example.com');
      await logged(gatehouse, 'outbox.postponed', 'ESOCKET');
      const tried = gatehouse.database.selectFrom('outbox').select('message_id').where('attempts', '>', 0);
      await eventually(async () => (await tried.execute()).length === 2);
      // the log of tests has the level debug, at which each failure has a line
      const lines = gatehouse.log.filter(
        (line) => line.includes('"outbox.postponed"') && line.includes('"level":"warn"'),
      );
      assert.equal(lines.length, 1);
      mailServer = await startMailServer({ port });
      await mailServer.next('first@example.com');
      await mailServer.next('second@example.com');
    } finally {
      await gatehouse.stop();
      await mailServer?.stop();
    }
  });

  const address = Object.values(networkInterfaces())
    .flat()
    .find((one) => one && !one.internal && one.family === 'IPv4')?.address;
  it(
    'is sent over TLS alone to a mail server on another machine, unless the operator says otherwise',
    { skip: address === undefined && 'this machine has only loopback addresses' },
    async () => {
      const mailServer = await startMailServer({ host: address! });
      const strict = await startGatehouse({ environment: { GATEHOUSE_SMTP_URL: mailServer.url, ...FROM } });
      const lax = await startGatehouse({
        environment: { GATEHOUSE_SMTP_URL: `${mailServer.url}?starttls=never`, ...FROM },
      });
      try {
        await invite(strict, 'strict@example.com');
        await logged(strict, 'outbox.postponed', 'ETLS');
        await invite(lax, 'lax@example.com');
        await mailServer.next('lax@example.com');
        assert.deepEqual(mailServer.mails, []);
      } finally {
        await Promise.all([strict.stop(), lax.stop()]);
        await mailServer.stop();
      }
    },
  );

  it('becomes a file that only its owner may read, where a folder is configured', async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'gatehouse-mails-')), 'mails');
    const gatehouse = await startGatehouse({ environment: { GATEHOUSE_MAIL_FOLDER: folder, ...FROM } });
    try {
      await invite(gatehouse, 'folder@example.com');
      const files = async () => (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.eml'));
      await eventually(async () => (await files()).length === 1);
      const file = join(folder, (await files())[0]!);
      assert.equal((await stat(file)).mode & 0o777, 0o600);
      assert.equal((await stat(folder)).mode & 0o777, 0o700);
      const text = await readFile(file, 'utf8');
      assert.match(text, /^From: Gatehouse <id@example\.com>$/m);
      assert.match(text, /^To: folder@example\.com$/m);
      const link = /http\S+\/link\/[\w-]{43}/.exec(text.replaceAll('=\n', ''))![0];
      assert.equal((await new LinkVisitor(gatehouse).open(link)).response.status, 200);
    } finally {
      await gatehouse.stop();
      await rm(join(folder, '..'), { recursive: true });
    }
  });

  it('is shown to the developer on a page, and on the terminal', async () => {
    const scene = await setScene({ environment: { NODE_ENV: 'development' } });
    const { gatehouse } = scene;
    const written: string[] = [];
    const write = process.stdout.write.bind(process.stdout);
    process.stdout.write = (chunk: string | Uint8Array, ...rest: never[]) => {
      written.push(String(chunk));
      return write(chunk, ...rest);
    };
    try {
      const page = await scene.visit();
      await page.goto(gatehouse.issuer);
      await page.getByRole('link', { name: 'Mails' }).click();
      assert.match(await textOf(page), /No mail was sent yet/);
      await invite(gatehouse, 'developer@example.com');
      const isWritten = () => Promise.resolve(written.some((text) => text.includes('Mail to developer@example.com')));
      await eventually(isWritten);
      await page.reload();
      assert.match(await textOf(page), /Your account at .* To developer@example\.com/);
      await assertAccessible(page);
      await page.getByRole('link', { name: /\/link\// }).click();
      assert.match(await textOf(page), /^Choose a password/);
      // a page of another site whose name leads to this machine
      const { port } = new URL(gatehouse.issuer);
      const refused = await answerFor(`${gatehouse.issuer}/mails`, `evil.example:${port}`);
      assert.equal(refused.status, 404);
      assert.equal((JSON.parse(refused.body) as { error: string }).error, 'not_found');
    } finally {
      process.stdout.write = write;
      await scene.stop();
    }
  });
});

async function invite(gatehouse: Gatehouse, email: string): Promise<string> {
  const admin = await Admin.of(gatehouse);
  const { body } = await admin.post('/accounts', { email });
  assert.equal((await admin.post(`/accounts/${body.account_id}/links`, { kind: 'first_password' })).status, 201);
  return body.account_id;
}

function logged({ log }: Gatehouse, ...words: readonly string[]): Promise<void> {
  const isThere = (): Promise<boolean> =>
    Promise.resolve(log.some((line) => words.every((word) => line.includes(word)) && line.includes('"mail"')));
  return eventually(isThere, 15_000);
}

async function events({ database }: Gatehouse, event: string) {
  return database
    .selectFrom('audit_events')
    .select(['account_id', 'client_id', 'details'])
    .where('event', '=', event)
    .execute();
}

/** `fetch` lets no caller choose the Host header. */
async function answerFor(url: string, host: string): Promise<{ readonly status?: number; readonly body: string }> {
  const [answer] = (await once(get(url, { headers: { host } }), 'response')) as [IncomingMessage];
  const body = Buffer.concat((await answer.toArray()) as Buffer[]).toString();
  return { ...(answer.statusCode !== undefined && { status: answer.statusCode }), body };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
