import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { client, MODEL } from "./service.mjs";

const { completions } = client.chat;
const asked = { model: MODEL, messages: [{ role: "user", content: "Hello" }], temperature: 0, max_tokens: 8 };

test("a streamed answer has the same text as a whole one, and counts its tokens", async () => {
  const whole = await completions.create(asked);
  assert.equal(whole.object, "chat.completion");
  assert(whole.usage.completion_tokens > 0);
  const stream = await completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
  let [text, usage] = ["", null];
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(usage.completion_tokens, whole.usage.completion_tokens);
});

test("the helper for streams returns the final message", async () => {
  const whole = await completions.create(asked);
  const final = await completions.stream(asked).finalMessage();
  assert.equal(final.content, whole.choices[0].message.content);
});

test("a wrong parameter and an unknown model are the client's own errors", async () => {
  const hot = await completions.create({ ...asked, temperature: 3 }).catch((error) => error);
  assert(hot instanceof OpenAI.BadRequestError, String(hot));
  assert.equal(hot.param, "temperature");
  const unknown = await completions.create({ ...asked, model: "unheard-of" }).catch((error) => error);
  assert(unknown instanceof OpenAI.NotFoundError, String(unknown));
});
