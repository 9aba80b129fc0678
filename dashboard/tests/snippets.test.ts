/** tests/integration/dashboard runs the files against a real service. */

import { describe, expect, test } from "vitest";

import * as chat from "@/lib/chat/chatRequest";
import { cliOf, curlOf, jsonOf, pythonOf } from "@/lib/newJob/snippets";
import type { CreateJob } from "@/types/api";

const ORIGIN = "http://127.0.0.1:8000";

/** A request with every kind of field, and with texts that have a meaning in a shell or in Python. */
const FULL: CreateJob = {
  model: "tiny-model",
  training_file: "file-training",
  validation_file: "file-validation",
  suffix: "it.is_mine-1",
  seed: 7,
  metadata: { "a.b c": `it's "$HOME" \\n \`id\` ü ☃`, number: "1", truth: "true" },
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: 4 } } },
  adapter: {
    type: "lora",
    r: 8,
    use_dora: true,
    target_modules: ["q_proj", "v_proj"],
    rank_pattern: { "layers.0.q_proj": 4 },
  },
  training: { learning_rate: 0.00001, lr_scheduler_type: "linear" },
  integrations: [],
  evaluate: { rows: 5, forgetting: false },
};

const PREFERENCES: CreateJob = {
  model: "tiny-model",
  training_file: "file-preferences",
  method: { type: "dpo", dpo: { hyperparameters: { beta: 0.2 } } },
  adapter: { type: "oft", oft_block_size: 16 },
};

const REWARDS: CreateJob = {
  model: "tiny-model",
  training_file: "file-prompts",
  validation_file: "file-prompts",
  method: {
    type: "reinforcement",
    reinforcement: {
      grader: { type: "string_check", name: "it's", input: "{{ sample.output_text }}", reference: "{{ item.answer }}", operation: "eq" },
      tools: [{ name: "get_time", server_url: "https://tools.example.com/call", headers: { authorization: "Bearer it's" } }],
      max_episode_steps: 3,
      hyperparameters: { num_generations: 4 },
    },
  },
};

const AUTOMATIC: CreateJob = {
  model: "tiny-model",
  training_file: "file-training",
  validation_file: "file-validation",
  adapter: { type: "lora", r: "auto" },
};

const SWEEP: CreateJob = {
  model: "tiny-model",
  training_file: "file-preferences",
  validation_file: "file-preferences",
  suffix: "swept",
  seed: 7,
  method: { type: "dpo", dpo: { hyperparameters: { beta: 0.2 } } },
  integrations: [{ type: "tensorboard" }],
  parameters: {
    "training.learning_rate": [0.00001, 0.1],
    "adapter.target_modules": ["all-linear", ["q_proj"], ["q_proj", "v_proj"]],
  },
};

describe.each([
  ["full", FULL],
  ["preferences", PREFERENCES],
  ["rewards", REWARDS],
  ["automatic", AUTOMATIC],
  ["sweep", SWEEP],
  ["least", { model: "tiny-model", training_file: "file-training" }],
])("the %s request", (name, request) => {
  test.each([
    ["python", pythonOf],
    ["curl", curlOf],
    ["cli", cliOf],
    ["json", jsonOf],
  ])("as %s", async (form, write) => {
    await expect(write(request, ORIGIN)).toMatchFileSnapshot(`snippets/${name}.${form}.txt`);
  });
});

describe("a question to a model", () => {
  const prompt = { role: "user", content: `What's "it"?\n$HOME \`id\`` } as const;
  const request = chat.chatRequest("tiny-model", [prompt], { system: "Be brief.", temperature: 0, max_tokens: 3 });
  test.each([
    ["python", chat.pythonOf],
    ["curl", chat.curlOf],
    ["cli", chat.cliOf],
  ])("as %s", async (form, write) => {
    await expect(write(request, ORIGIN)).toMatchFileSnapshot(`snippets/chat.${form}.txt`);
  });
});
