/**
 * `npm run prose [folder]`: counts words of a private language (private_language.txt) in comments and documentation,
 * prints each sentence that has one, and fails above 1 in 1,000 words.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sentencesOf } from './comments.ts';

const AT_MOST_PER_THOUSAND = 1;
const PROSE = ['{src,test,bench,scripts,migrations,examples}/**/*.ts', '*.md', '{docs,deploy,examples}/**/*.md'];

const root = join(import.meta.dirname, '../..');
const [, , folder = ''] = process.argv;
const patterns = readFileSync(join(import.meta.dirname, 'private_language.txt'), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => line.replaceAll('*', String.raw`\w*`).replaceAll(' ', String.raw`\s+`));
const privateLanguage = new RegExp(String.raw`\b(?:${patterns.join('|')})\b`, 'gi');

let words = 0;
let found = 0;
for (const path of globSync(PROSE, { cwd: root }).toSorted()) {
  if (!path.startsWith(folder) || path.includes('node_modules')) continue;
  for (const { line, text } of sentencesOf(path, readFileSync(join(root, path), 'utf8'))) {
    words += text.split(' ').length;
    const hits = text.match(privateLanguage);
    if (!hits) continue;
    found += hits.length;
    console.log(`${path}:${line} [${hits.join(', ')}] ${text}`);
  }
}
const perThousand = (found / Math.max(words, 1)) * 1000;
console.log(`${found} in ${words} words: ${perThousand.toFixed(2)} per 1,000; ${AT_MOST_PER_THOUSAND} is allowed.`);
if (perThousand > AT_MOST_PER_THOUSAND) process.exitCode = 1;
