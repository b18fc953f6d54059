/** The login form as an attacker or a person posts it: from any address, to any node, again and again. */
import assert from 'node:assert/strict';
import type { Gatehouse } from '../node/gatehouse.ts';
import { Person } from './person.ts';

export interface Credentials {
  readonly email: string;
  readonly password: string;
}

export interface LoginAnswer {
  /** 303: logged in, 401: wrong, 429: not looked at. */
  readonly status: number;
  readonly retryAfterSeconds: number;
}

/** A login page that is open in one browser. The same form can be posted until a right password ends it. */
export class LoginForm {
  readonly person: Person;
  readonly #path: string;

  private constructor(person: Person, path: string) {
    this.person = person;
    this.#path = path;
  }

  static async open(gatehouse: Gatehouse, address: string, person = new Person(gatehouse, { address })) {
    const { page } = await person.open(`${gatehouse.issuer}/account/login`);
    const [, path] = /<form method="post" action="([^"]*\/login)">/.exec(page) ?? [];
    return new LoginForm(person, path ?? assert.fail(`No login form: ${page}`));
  }

  async post(
    { url }: Pick<Gatehouse, 'url'>,
    { email, password }: Credentials,
    address?: string,
  ): Promise<LoginAnswer> {
    const response = await this.person.fetch(new URL(this.#path, url), {
      method: 'POST',
      body: new URLSearchParams({ email, password }),
      ...(address !== undefined && { headers: { 'x-forwarded-for': address } }),
    });
    await response.body?.cancel();
    return { status: response.status, retryAfterSeconds: Number(response.headers.get('retry-after')) };
  }
}
