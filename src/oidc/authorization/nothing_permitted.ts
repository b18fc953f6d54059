/** The person's roles permit none of what the client asks for. */
import { errors } from 'oidc-provider';

export class NothingPermitted extends errors.AccessDenied {
  constructor() {
    super('the roles of the end-user permit none of the requested scopes');
  }
}
