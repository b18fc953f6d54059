/** Extracts the prose of a file: the comments of a TypeScript file, or the text of a Markdown file without its code. */

/** A sentence and the line on which it begins, from 1. */
export interface Sentence {
  readonly line: number;
  readonly text: string;
}

/** Splits at full stops and empty lines; keeps the line numbers of the file. */
export function sentencesOf(path: string, source: string): Sentence[] {
  const prose = path.endsWith('.md') ? withoutCode(source) : comments(source);
  return split(prose);
}

/** Replaces everything outside comments with spaces, so that lines keep their numbers. */
function comments(source: string): string {
  const found = source.matchAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/[^\n]*/gm);
  let prose = '';
  let end = 0;
  for (const { 0: comment, index } of found) {
    prose += blank(source.slice(end, index)) + comment.replaceAll(/\/\*\*?|\*\/|^\s*\*|\/\//gm, blank);
    end = index + comment.length;
  }
  return prose + blank(source.slice(end));
}

function withoutCode(markdown: string): string {
  return markdown.replaceAll(/^```[\s\S]*?^```|`[^`\n]*`|\]\([^)\n]*\)/gm, blank);
}

function blank(text: string): string {
  return text.replaceAll(/[^\n]/g, ' ');
}

function split(prose: string): Sentence[] {
  const sentences: Sentence[] = [];
  for (const { 0: text, index } of prose.matchAll(/(?:(?!\n\s*\n)[^.!?|]|[.!?](?!\s|$))+[.!?]?/gm)) {
    const words = text.replaceAll(/\s+/g, ' ').trim();
    if (!/\p{L}/u.test(words)) continue;
    const line = prose.slice(0, index + text.search(/\S/)).split('\n').length;
    sentences.push({ line, text: words });
  }
  return sentences;
}
