/** The response modes of authorization responses (OAuth 2.0 Multiple Response Types, Form Post Response Mode, JARM). */
export const RESPONSE_MODES = [
  'query',
  'fragment',
  'form_post',
  'jwt',
  'query.jwt',
  'fragment.jwt',
  'form_post.jwt',
] as const;
export type ResponseMode = (typeof RESPONSE_MODES)[number];

export const ONE_OF_RESPONSE_MODES = `must be one of ${RESPONSE_MODES.join(', ')}`;
