/** How the files of this folder check the members of a client's metadata against one another. */
import type { z } from 'zod';

/** Says what is wrong with a member, by its path. */
export type Objection = (path: readonly (string | number)[], message: string) => void;

/** The members that the checks of several files read. */
interface CommonMembers {
  readonly token_endpoint_auth_method: string;
  readonly grant_types: readonly string[];
  readonly response_types: readonly string[];
  readonly redirect_uris: readonly string[];
  readonly jwks?: { readonly keys: readonly { readonly x5c?: readonly string[] | undefined }[] } | undefined;
  readonly jwks_uri?: string | undefined;
}

/** What the members of one file demand of one another and of the common ones. */
export type Check<Members extends z.ZodRawShape> = (
  client: CommonMembers & Omit<z.output<z.ZodObject<Members>>, keyof CommonMembers>,
  object: Objection,
) => void;
