// SPDX-License-Identifier: Apache-2.0
// Answers each line of hexadecimal digits on the standard input, a text, with the numbers of its
// tokens in a published vocabulary. Usage: node encode.mjs FOLDER NAME
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [folder, name] = process.argv.slice(2);
const require = createRequire(folder + '/');
const { TokenizerLoader } = require('@lenml/tokenizers');
const load = (file) =>
  JSON.parse(readFileSync(`${folder}/node_modules/@lenml/${name}/models/${file}`, 'utf8'));
const tokenizer = TokenizerLoader.fromPreTrained({
  tokenizerJSON: load('tokenizer.json'),
  tokenizerConfig: load('tokenizer_config.json'),
});
const answers = [];
for (const line of readFileSync(0, 'utf8').split('\n').slice(0, -1)) {
  const text = Buffer.from(line, 'hex').toString('utf8');
  answers.push(tokenizer.encode(text, { add_special_tokens: false }).join(' '));
}
process.stdout.write(answers.join('\n') + '\n');
