/** The official client on the service that OPENAI_BASE_URL and OPENAI_API_KEY name, and rows to train on. */

import assert from "node:assert/strict";

import OpenAI, { toFile } from "openai";

export const client = new OpenAI({ maxRetries: 0 });
export const MODEL = required("BASE_MODEL");

/** Returns a variable that the Python test sets. */
export function required(name) {
  const value = process.env[name];
  assert(value, `${name} is not set`);
  return value;
}

export async function upload(count = 12) {
  const rows = Array.from({ length: count }, (_, at) => ({
    messages: [
      { role: "user", content: "hi" },
      { role: "assistant", content: `answer ${at}` },
    ],
  }));
  const content = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return client.files.create({ file: await toFile(content, "train.jsonl"), purpose: "fine-tune" });
}

export async function createJob(more = {}) {
  const { id: training_file } = await upload();
  return client.fineTuning.jobs.create({ model: MODEL, training_file, ...more });
}

/** Returns the ids of all pages of a list. */
export async function idsOf(pages) {
  const ids = [];
  for await (const { id } of pages) ids.push(id);
  return ids;
}
