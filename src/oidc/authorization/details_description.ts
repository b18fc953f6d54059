/** Descriptions of authorization details (RFC 9396) for the consent page. Every member is shown. */
import type { AuthorizationDetail } from 'oidc-provider';
import { replaceInvisible } from '../../base/visible_text.ts';
import type { AuthorizationDetailsTypes } from '../../resources/details_type_directory.ts';
import type { DetailsSchema } from '../../resources/details_schema.ts';
import { fillTitle } from '../../resources/details_title.ts';
import { locationsOf } from '../request/requested_details.ts';

export interface DetailDescription {
  readonly title: readonly { readonly text: string; readonly isValue: boolean }[];
  readonly description: string | undefined;
  readonly type: string;
  /** The APIs whose tokens may contain the detail. */
  readonly apis: readonly string[];
  /** All members except the type and the locations, flattened to single values. */
  readonly members: readonly { readonly label: string; readonly value: string }[];
}

export function describeDetails(types: AuthorizationDetailsTypes) {
  /** Describes each detail of the request. `resources` are the resources that the request is for. */
  return (authorizationDetails: string, resources: readonly string[]): DetailDescription[] =>
    (JSON.parse(authorizationDetails) as AuthorizationDetail[]).map((detail) => describe(types, detail, resources));
}

function describe(
  types: AuthorizationDetailsTypes,
  detail: AuthorizationDetail,
  resources: readonly string[],
): DetailDescription {
  const { type: name, locations: _, ...members } = detail;
  const type = types.get(name);
  const title = type ? fillTitle(type.title, detail) : [{ text: name, isValue: true }];
  return {
    title: title.map(({ text, isValue }) => ({ text: visible(text), isValue })),
    description: type?.description ?? undefined,
    type: visible(name),
    apis: (locationsOf(detail) ?? type?.resources ?? []).filter((api) => resources.includes(api)),
    members: Object.entries(members).flatMap(([member, value]) =>
      rows(member, value, type?.schema.properties?.[member]),
    ),
  };
}

/** Returns one row per value. The label is the path to the value; a title in the schema replaces the member’s name. */
function rows(label: string, value: unknown, schema?: DetailsSchema): { label: string; value: string }[] {
  const here = schema?.title ?? label;
  const inside = Array.isArray(value)
    ? value.flatMap((item, index) => rows(String(index + 1), item, schema?.items))
    : typeof value === 'object' && value !== null
      ? Object.entries(value).flatMap(([name, member]) => rows(name, member, schema?.properties?.[name]))
      : undefined;
  if (inside === undefined) return [{ label: visible(here), value: value === '' ? '(empty)' : visible(String(value)) }];
  if (inside.length === 0) return [{ label: visible(here), value: '(empty)' }];
  return inside.map((row) => ({ ...row, label: `${visible(here)} · ${row.label}` }));
}

/** Writes invisible characters, those that change the text direction, and private-use ones as code points. */
function visible(text: string): string {
  return replaceInvisible(text, codePoint).replaceAll(/\p{Co}/gu, codePoint);
}

function codePoint(character: string): string {
  return `⟨U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}⟩`;
}
