import type { RedirectPages } from '../authorization/error_redirects.ts';
import type { DevicePages } from '../device/device_flow.ts';
import type { LogoutPages } from '../logout/refused_destinations.ts';
import type { FormPostPages } from './form_post.ts';

/** Pages that the library asks for while it answers; login/ draws them. */
export interface LibraryPages extends DevicePages, FormPostPages, RedirectPages, LogoutPages {}
