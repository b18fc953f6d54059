/** A later version of Gatehouse: this one with more migrations, in a folder of its own. */
import { cp, mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeFolder } from './folder.ts';

const PROJECT = join(import.meta.dirname, '../../..');

export class LaterVersion {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async make(): Promise<LaterVersion> {
    const folder = await mkdtemp(join(tmpdir(), 'gatehouse-later-'));
    for (const part of ['src', 'migrations', 'views', 'package.json']) {
      await cp(join(PROJECT, part), join(folder, part), { recursive: true });
    }
    await symlink(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
    return new LaterVersion(folder);
  }

  get main(): string {
    return join(this.#folder, 'src/main.ts');
  }

  /** Adds a migration; `demands` is the name of one that nodes have to know from then on. */
  async add(name: string, statements: readonly string[], demands?: string): Promise<void> {
    const lines = [
      `import { sql } from 'kysely';`,
      `export async function up(db) { for (const statement of ${JSON.stringify(statements)}) await sql.raw(statement).execute(db); }`,
      ...(demands === undefined ? [] : [`export const demands = ${JSON.stringify(demands)};`]),
    ];
    await writeFile(join(this.#folder, 'migrations', `${name}.ts`), `${lines.join('\n')}\n`);
  }

  async remove(): Promise<void> {
    await removeFolder(this.#folder);
  }
}
