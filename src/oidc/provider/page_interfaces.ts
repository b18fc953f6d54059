import type { KoaContextWithOIDC } from 'oidc-provider';
import type { RedirectPages } from '../authorization/error_redirects.ts';
import type { DevicePages } from '../device/device_flow.ts';
import type { FormPostPages } from './form_post.ts';

/** Pages that the library asks for while it answers; login/ draws them. */
export interface LibraryPages extends DevicePages, FormPostPages, RedirectPages {
  readonly logoutSource: (ctx: KoaContextWithOIDC, form: string) => void | Promise<void>;
  readonly postLogoutSuccessSource: (ctx: KoaContextWithOIDC) => void | Promise<void>;
}
