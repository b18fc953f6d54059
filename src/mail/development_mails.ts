/**
 * Shows mails to a developer instead of sending them: on the terminal, and on a page. Mails are kept as files, because
 * another process of the node may answer the page.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReadyMail } from './ready_mail.ts';

export interface ShownMail extends Pick<ReadyMail, 'to' | 'subject' | 'text'> {
  readonly sentAt: Date;
}

const KEPT_AT_MOST = 50;

export class DevelopmentMails {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async show({ messageId, to, subject, text }: ReadyMail): Promise<void> {
    const sentAt = new Date();
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    // in the order of time, by name
    const name = `${sentAt.toISOString().replaceAll(':', '-')}_${messageId.replaceAll(/[^\w-]+/g, '_')}.json`;
    const file = join(this.#folder, name);
    await writeFile(`${file}.new`, JSON.stringify({ to, subject, text, sentAt }), { mode: 0o600 });
    await rename(`${file}.new`, file);
    for (const old of (await this.#files()).slice(KEPT_AT_MOST)) await rm(join(this.#folder, old), { force: true });
    const lines = [`Mail to ${to}: ${subject}`, ...text.split('\n')];
    process.stdout.write(`\n${lines.map((line) => `  │ ${line}`).join('\n')}\n\n`);
  }

  /** Returns the latest mails, newest first. */
  async latest(): Promise<readonly ShownMail[]> {
    const files = (await this.#files()).slice(0, KEPT_AT_MOST);
    const texts = await Promise.all(files.map((file) => readFile(join(this.#folder, file), 'utf8').catch(() => '')));
    return texts.filter(Boolean).map((text) => {
      const mail = JSON.parse(text) as Omit<ShownMail, 'sentAt'> & { readonly sentAt: string };
      return { ...mail, sentAt: new Date(mail.sentAt) };
    });
  }

  async #files(): Promise<string[]> {
    const all = await readdir(this.#folder).catch(() => []);
    return all
      .filter((name) => name.endsWith('.json'))
      .toSorted()
      .toReversed();
  }
}
