/** Calls of the admin API as a test wants them: one token for many calls, and answers read to their end. */
import { requestToken, type Gatehouse } from '../node/gatehouse.ts';

/** The members that tests look at, for any kind of answer. */
export interface Body {
  readonly [member: string]: unknown;
  readonly items: readonly Body[];
  readonly errors: readonly { readonly pointer?: string; readonly parameter?: string; readonly detail: string }[];
  readonly client_id: string;
  readonly client_secret: string;
  readonly secret_id: string;
  readonly account_id: string;
  readonly next_cursor: string;
  readonly detail: string;
  readonly request_id: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Empty where the answer is not JSON. */
  readonly body: Body;
}

export type Headed = Readonly<Record<string, string>>;

export class Admin {
  readonly gatehouse: Gatehouse;
  readonly token: string;

  constructor(gatehouse: Gatehouse, token: string) {
    this.gatehouse = gatehouse;
    this.token = token;
  }

  static async of(gatehouse: Gatehouse, scope?: string): Promise<Admin> {
    return new Admin(gatehouse, await gatehouse.adminToken(scope));
  }

  /** A client of its own that has these admin scopes and no others. */
  async lesser(...scopes: readonly string[]): Promise<Admin & { readonly clientId: string; readonly secret: string }> {
    const resources = [{ resource: this.gatehouse.admin.resource, scopes }];
    const { body } = await this.post('/clients', { client_name: 'Lesser admin', resources });
    const token = await requestToken(this.gatehouse.url, body);
    return Object.assign(new Admin(this.gatehouse, token), { clientId: body.client_id, secret: body.client_secret });
  }

  get(path: string, headers: Headed = {}): Promise<Answer> {
    return this.send('GET', path, undefined, headers);
  }

  post(path: string, body?: unknown, headers: Headed = {}): Promise<Answer> {
    return this.send('POST', path, body === undefined ? undefined : JSON.stringify(body), headers);
  }

  patch(path: string, body: unknown, headers: Headed = {}): Promise<Answer> {
    return this.send('PATCH', path, JSON.stringify(body), headers);
  }

  delete(path: string, headers: Headed = {}): Promise<Answer> {
    return this.send('DELETE', path, undefined, headers);
  }

  async send(
    method: string,
    path: string,
    body: string | Uint8Array<ArrayBuffer> | undefined,
    headers: Headed = {},
  ): Promise<Answer> {
    const response = await fetch(`${this.gatehouse.url}/admin/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body }),
    });
    const text = await response.text();
    const isJson = /[/+]json$/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, headers: response.headers, text, body: (isJson ? JSON.parse(text) : {}) as Body };
  }
}
