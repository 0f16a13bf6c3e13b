// SPDX-License-Identifier: Apache-2.0
// The public OpenAI client against an endpoint: runs what the arguments say, prints one JSON value.
//   node openai_client.mjs FOLDER_OF_THE_PACKAGE BASE_URL API_KEY COMMAND [PROMPT]
import { createRequire } from "node:module";
import path from "node:path";

const [folder, baseURL, apiKey, command, prompt] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(folder), "package.json"));
const OpenAI = require("openai").default ?? require("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 20000 });
const messages = [{ role: "user", content: prompt }];

async function streamed(request) {
  let text = "";
  let usage = null;
  let chunks = 0;
  for await (const chunk of await request) {
    chunks++;
    const choice = chunk.choices[0];
    text += choice?.delta?.content ?? choice?.text ?? "";
    usage = chunk.usage ?? usage;
  }
  return { text, chunks, usage };
}

const commands = {
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids, one: (await client.models.retrieve(ids[0])).id };
  },
  chat: () => client.chat.completions.create({ model: "tiny", messages, max_tokens: 16, temperature: 0 }),
  complete: () => client.completions.create({ model: "tiny", prompt, max_tokens: 16, temperature: 0 }),
  stream: () => streamed(client.chat.completions.create({
    model: "tiny", messages, max_tokens: 16, temperature: 0, stream: true,
    stream_options: { include_usage: true } })),
  completeStream: () => streamed(client.completions.create({
    model: "tiny", prompt, max_tokens: 16, temperature: 0, stream: true })),
  async abort() {
    const stream = await client.chat.completions.create({ model: "tiny", messages, stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content) break;
    }
    stream.controller.abort();
    return { aborted: true };
  },
  async many() {
    const one = (n) => client.chat.completions.create({
      model: "tiny", messages: [{ role: "user", content: `${prompt} ${n}` }], max_tokens: 16 });
    const replies = await Promise.all(Array.from({ length: 12 }, (_, n) => one(n)));
    return replies.map((reply) => reply.choices[0].message.content);
  },
};

try {
  console.log(JSON.stringify(await commands[command]()));
} catch (error) {
  console.log(JSON.stringify({ error: error.constructor.name, status: error.status ?? null,
    code: error.code ?? null, type: error.type ?? null, message: error.message }));
}
