/** Makes pages with only a message from the catalogue of texts. */
import type { NoticePage } from './pages.ts';
import { fill, type TextValues } from './texts/texts.ts';

export interface NoticeTexts {
  readonly heading: string;
  readonly sentences: readonly string[];
}

export function noticeOf({ heading, sentences }: NoticeTexts, values: TextValues = {}): NoticePage {
  return {
    page: 'notice',
    heading: fill(heading, values),
    sentences: sentences.map((sentence) => fill(sentence, values)),
  };
}
