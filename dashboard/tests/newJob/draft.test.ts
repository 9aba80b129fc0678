import { describe, expect, test } from "vitest";

import { parseNewJobSearch } from "@/lib/addresses/newJobSearch";
import { automaticValuesOf } from "@/lib/newJob/automaticValues";
import type { Job } from "@/types/api";
import {
  type Draft,
  EMPTY_DRAFT,
  fieldOf,
  fieldPaths,
  problemsAtFields,
  problemsOf,
  requestOf,
} from "@/lib/newJob/draft";
import { type Choice, draftOfJob } from "@/lib/newJob/draftOfJob";
import { isAdvanced } from "@/lib/newJob/isAdvanced";
import { jobSchemas } from "@/lib/newJob/jobSchemas";
import { isResolved, sameRequest } from "@/lib/newJob/sameRequest";
import { readJson } from "@/lib/schemas/jsonOption";

import { aJob } from "../jobs/aJob";
import { OFFER } from "./offer";

const BEGUN: Draft = { ...EMPTY_DRAFT, model: "tiny-model", training_file: "file-1" };
const NO_CHOICE: Choice = { kind: "none", tried: null };
const AUTO_RANK: Choice = { kind: "auto_rank", tried: null };
const paths = (draft: Draft) => problemsOf(draft, OFFER).map(({ path }) => path);

describe("the request", () => {
  test("of an empty draft holds only model and data", () => {
    expect(requestOf(BEGUN, OFFER)).toEqual({ model: "tiny-model", training_file: "file-1" });
  });

  test("has only the hyperparameters of the chosen objective", () => {
    const draft = { ...BEGUN, hyperparameters: { n_epochs: 2, beta: 0.3 } };
    expect(requestOf(draft, OFFER).method).toEqual({ type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } });
    const dpo = requestOf({ ...draft, objective: "dpo" }, OFFER).method;
    expect(dpo).toEqual({ type: "dpo", dpo: { hyperparameters: { n_epochs: 2, beta: 0.3 } } });
  });

  test("has the grader of an objective that learns from rewards, and of no other", () => {
    const grader = { type: "string_check" };
    const draft = { ...BEGUN, objective: "reinforcement", beside: { grader } };
    expect(requestOf(draft, OFFER).method).toEqual({ type: "reinforcement", reinforcement: { grader } });
    expect(requestOf({ ...draft, objective: "dpo" }, OFFER).method).toEqual({ type: "dpo", dpo: {} });
  });

  test("has only the options of the chosen adapter", () => {
    const draft = { ...BEGUN, options: { lora: { r: "auto" }, oft: { oft_block_size: 8 } } };
    expect(requestOf(draft, OFFER).adapter).toEqual({ type: "lora", r: "auto" });
    expect(requestOf({ ...draft, adapter: "oft" }, OFFER).adapter).toEqual({ type: "oft", oft_block_size: 8 });
  });

  test("leaves out metadata that was never filled in", () => {
    expect(requestOf({ ...BEGUN, metadata: [["", ""], ["team", "a"]] }, OFFER).metadata).toEqual({ team: "a" });
  });
});

describe("the check", () => {
  test("accepts a complete draft", () => expect(problemsOf(BEGUN, OFFER)).toEqual([]));

  test("finds missing values and values out of range, each at its field", () => {
    const draft: Draft = {
      ...EMPTY_DRAFT,
      hyperparameters: { n_epochs: 51, batch_size: "many" },
      options: { lora: { r: 0.5, lora_dropout: 1, rank_pattern: { q: 999 }, eva_config: { rho: 0 } } },
      training: { learning_rate: 0 },
      top: { suffix: "no spaces", seed: -1, validation_split: 1.5, augmentation: { copies: 9 } },
    };
    const within = "method.supervised.hyperparameters";
    expect(paths(draft)).toEqual([
      ...["model", "training_file", `${within}.n_epochs`, `${within}.batch_size`],
      ...["adapter.r", "adapter.lora_dropout", "adapter.rank_pattern.q", "adapter.eva_config.rho"],
      ...["training.learning_rate", "suffix", "seed", "validation_split", "augmentation.copies"],
    ]);
  });

  test("gives the field of the form and the path inside the field", () => {
    const draft = { ...BEGUN, options: { lora: { rank_pattern: { "layers.q": 999 } } } };
    const message = "layers.q: It must be a whole number from 1 to 256.";
    expect(problemsAtFields(draft, OFFER)).toEqual([{ path: "adapter.rank_pattern", message }]);
  });

  test("finds an option that an adapter needs", () => {
    expect(paths({ ...BEGUN, adapter: "oft" })).toEqual(["adapter.oft_block_size"]);
  });

  test("finds a grader that is missing or no JSON object", () => {
    const withGrader = (grader: unknown) => problemsOf({ ...BEGUN, objective: "reinforcement", beside: { grader } }, OFFER);
    const path = "method.reinforcement.grader";
    expect(withGrader(undefined)).toEqual([{ path, message: "It is required." }]);
    expect(withGrader(5)).toEqual([{ path, message: "It must be a JSON object." }]);
    const [broken] = withGrader(readJson('{"type": '));
    expect(broken?.message).toMatch(/^It must be a JSON object\. .*JSON/);
    expect(withGrader(readJson('{"type": "multi"}'))).toEqual([]);
  });

  test("takes any text as a teacher, but not none", () => {
    const taught = (teacher: unknown) => problemsOf({ ...BEGUN, objective: "distillation", beside: { teacher } }, OFFER);
    expect(taught("big")).toEqual([]);
    expect(taught(undefined)).toEqual([{ path: "method.distillation.teacher", message: "It is required." }]);
  });

  test("finds what is wrong with a tool and with the number of turns, each at its field", () => {
    const grader = { type: "multi" };
    const asked = (beside: object) => problemsAtFields({ ...BEGUN, objective: "reinforcement", beside: { grader, ...beside } }, OFFER);
    const right = { name: "get_time", server_url: "https://tools.example.com/", headers: { "x-key": "a b" } };
    expect(asked({ tools: [right], max_episode_steps: 3 })).toEqual([]);
    expect(asked({ tools: [right, { name: "get time" }] })).toEqual([
      { path: "method.reinforcement.tools.1.server_url", message: "It is required." },
      { path: "method.reinforcement.tools.1.name", message: "It must be up to 64 letters, digits, dashes and underscores." },
    ]);
    const turns = { path: "method.reinforcement.max_episode_steps", message: "It must be a whole number from 1 to 100." };
    expect(asked({ max_episode_steps: 101 })).toEqual([turns]);
  });

  test("finds metadata without a name or with the same name twice", () => {
    expect(paths({ ...BEGUN, metadata: [["", "x"]] })).toEqual(["metadata"]);
    expect(paths({ ...BEGUN, metadata: [["a", "x"], ["a", "y"]] })).toEqual(["metadata"]);
  });
});

test.each([
  ["adapter.r", "adapter.r"],
  ["adapter.rank_pattern.q_proj", "adapter.rank_pattern"],
  ["adapter.eva_config.rho", "adapter.eva_config.rho"],
  ["training_file", "training_file"],
  ["method.type", "method.type"],
  ["method.supervised.hyperparameters.n_epochs", "method.supervised.hyperparameters.n_epochs"],
  ["metadata.team", "metadata"],
  ["something.else", null],
  [null, null],
])("a refusal of %s is shown at the field %s", (param, field) => {
  expect(fieldOf(param, fieldPaths(BEGUN, OFFER))).toBe(field);
});

describe("an automatic value", () => {
  test("is shown with its value if the API gives it, or else with its rule", () => {
    expect(automaticValuesOf({ ...BEGUN, options: { lora: { r: 8 } } }, OFFER)).toEqual([
      { path: "method.supervised.hyperparameters.n_epochs", becomes: "goes by the rows", isLater: true },
      { path: "training.learning_rate", becomes: "0.0002, the default of LoRA", isLater: false },
      { path: "training.max_length", becomes: "the limit", isLater: true },
      { path: "seed", becomes: "drawn at random", isLater: true },
    ]);
  });

  test("can be a rank, and the alpha that follows it", () => {
    const draft = { ...BEGUN, options: { lora: { r: "auto" } } };
    expect(automaticValuesOf(draft, OFFER)).toContainEqual({ path: "adapter.lora_alpha", becomes: "twice the rank", isLater: true });
    const named = { ...BEGUN, options: { lora: { r: "auto", lora_alpha: 16 } } };
    expect(automaticValuesOf(named, OFFER).map(({ path }) => path)).not.toContain("adapter.lora_alpha");
  });

  test("is never a value that was set", () => {
    const draft = { ...BEGUN, training: { max_length: 64, learning_rate: 0.1 }, hyperparameters: { n_epochs: 1 }, top: { seed: 1 } };
    expect(automaticValuesOf(draft, OFFER)).toEqual([]);
  });
});

describe("a job that is cloned", () => {
  const adapter = { type: "lora", r: 8, lora_alpha: 32, target_modules: "all-linear", eva_config: null, rank_pattern: {} };
  const job = aJob(1, {
    model: "tiny-model",
    adapter,
    training: { devices: 1, learning_rate: 2e-4, warmup_ratio: 0.1, max_length: 512 },
    user_provided_suffix: "mine",
    metadata: { team: "a" },
    seed: 9,
  });

  test("keeps its data, names and seed, and the values that are not defaults", () => {
    const { draft, leftOut } = draftOfJob(job, OFFER, NO_CHOICE);
    expect(leftOut).toEqual([]);
    expect(requestOf(draft, OFFER)).toEqual({
      model: "tiny-model",
      training_file: "file-1",
      suffix: "mine",
      seed: 9,
      metadata: { team: "a" },
      method: { type: "supervised", supervised: { hyperparameters: job.hyperparameters } },
      adapter: { type: "lora", r: 8 },
      training: { warmup_ratio: 0.1, max_length: 512 },
    });
    expect(problemsOf(draft, OFFER)).toEqual([]);
  });

  test("leaves out a method that the form does not offer", () => {
    const method = { type: "later", later: { hyperparameters: { n_epochs: 2 } } } as unknown as Job["method"];
    const { draft, leftOut } = draftOfJob({ ...job, method }, OFFER, NO_CHOICE);
    expect(leftOut).toEqual([["method", method]]);
    expect(requestOf(draft, OFFER).method).toBeUndefined();
  });

  test("keeps its grader, and is evaluated by it again", () => {
    const grader = { type: "string_check", name: "right", operation: "eq" };
    const hyperparameters = { n_epochs: 2, batch_size: 8, learning_rate_multiplier: 0.2 };
    const method = { type: "reinforcement", reinforcement: { grader, response_format: null, hyperparameters } } as unknown as Job["method"];
    const evaluate = { criteria: [grader], file: "file-2", rows: null, forgetting: true } as unknown as Job["evaluate"];
    const { draft, leftOut } = draftOfJob(aJob(1, { method, validation_file: "file-2", evaluate }), OFFER, NO_CHOICE);
    expect(leftOut).toEqual([]);
    const request = requestOf(draft, OFFER);
    expect(request.method).toEqual({ type: "reinforcement", reinforcement: { grader, hyperparameters } });
    expect(request.evaluate).toEqual({});
  });

  test("keeps its tools, and the most turns unless they are as usual", () => {
    const grader = { type: "string_check", name: "right", operation: "eq" };
    const tools = [{ name: "get_time", server_url: "https://tools.example.com/", headers: { "x-key": "**********" } }];
    const again = (changed: object) => {
      const reinforcement = { grader, tools: null, max_episode_steps: 10, response_format: null, hyperparameters: {}, ...changed };
      const job = aJob(1, { method: { type: "reinforcement", reinforcement } as unknown as Job["method"] });
      const { draft, leftOut } = draftOfJob(job, OFFER, NO_CHOICE);
      expect(leftOut).toEqual([]);
      return requestOf(draft, OFFER).method;
    };
    expect(again({})).toEqual({ type: "reinforcement", reinforcement: { grader } });
    expect(again({ tools, max_episode_steps: 3 })).toEqual({ type: "reinforcement", reinforcement: { grader, tools, max_episode_steps: 3 } });
  });

  test("is evaluated as before, with what differs from the defaults", () => {
    const criteria = [{ type: "loss", name: "loss" }, { type: "exact_match", name: "exact_match" }];
    const usual = { criteria, file: "file-2", rows: null, forgetting: true };
    const again = (changed: object) => {
      const evaluate = { ...usual, ...changed } as unknown as Job["evaluate"];
      return requestOf(draftOfJob(aJob(1, { validation_file: "file-2", evaluate }), OFFER, NO_CHOICE).draft, OFFER).evaluate;
    };
    expect(again({})).toEqual({});
    expect(again({ rows: 50, forgetting: false, file: "file-3" })).toEqual({ rows: 50, forgetting: false, file: "file-3" });
    expect(again({ criteria: criteria.slice(0, 1) })).toEqual({ criteria: criteria.slice(0, 1) });
  });

  test("has an automatic rank again, with the alpha that follows it", () => {
    const won = aJob(1, { adapter: { type: "lora", r: 4, lora_alpha: 8 } });
    expect(draftOfJob(won, OFFER, AUTO_RANK).draft.options).toEqual({ lora: { r: "auto" } });
    const waiting = aJob(1, { adapter: { type: "lora", r: "auto", lora_alpha: "auto" } });
    expect(draftOfJob(waiting, OFFER, AUTO_RANK).draft.options).toEqual({ lora: { r: "auto" } });
    const named = aJob(1, { adapter: { type: "lora", r: "auto", lora_alpha: 24 } });
    expect(draftOfJob(named, OFFER, AUTO_RANK).draft.options).toEqual({ lora: { r: "auto", lora_alpha: 24 } });
  });

  test("tries the same values if it is a sweep, without the winner's values", () => {
    const won = aJob(1, { adapter: { type: "lora", r: 8, lora_alpha: 16, use_dora: true }, training: { devices: 1, learning_rate: 0.1 } });
    const tried = { "adapter.r": [4, 8], "training.learning_rate": [0.1, 0.01] };
    const { draft } = draftOfJob(won, OFFER, { kind: "sweep", tried });
    expect(draft.tried).toEqual(tried);
    expect([draft.options, draft.training]).toEqual([{ lora: { use_dora: true } }, {}]);
    const alone = draftOfJob(won, OFFER, { kind: "sweep", tried: null }).draft;
    expect([alone.tried, alone.options, alone.training]).toEqual([
      null,
      { lora: { r: 8, lora_alpha: 16, use_dora: true } },
      { learning_rate: 0.1 },
    ]);
  });

  test("reports to the same trackers with the same settings", () => {
    const wandb = { project: "mine", name: null, entity: null, tags: null };
    const told = aJob(1, { integrations: [{ type: "wandb", wandb }, { type: "tensorboard" }] });
    const { integrations } = draftOfJob(told, OFFER, NO_CHOICE).draft;
    expect(integrations).toEqual([{ type: "wandb", wandb: { project: "mine" } }, { type: "tensorboard" }]);
  });

  test("makes variants of its rows, unless it takes rows that were made before", () => {
    const augmentation = { copies: 2, typing_noise: 0, user_case: true, system_prompts: null } as unknown as Job["augmentation"];
    const kept = draftOfJob(aJob(1, { augmentation, validation_split: 0.2 }), OFFER, NO_CHOICE).draft;
    expect(requestOf(kept, OFFER)).toMatchObject({ validation_split: 0.2, augmentation: { copies: 2, user_case: true } });
    expect(isAdvanced(kept)).toBe(true);
    const prepared = { training_file: "file-made" } as Job["prepared"];
    const made = requestOf(draftOfJob(aJob(1, { augmentation, prepared }), OFFER, NO_CHOICE).draft, OFFER);
    expect(made).toMatchObject({ training_file: "file-made" });
    expect(made).not.toHaveProperty("augmentation");
  });

  test("names the settings that this service no longer accepts", () => {
    const older = aJob(1, { adapter: { type: "lora", r: 999, gone: 1 } });
    const { draft, leftOut } = draftOfJob(older, OFFER, NO_CHOICE);
    expect(draft.options).toEqual({ lora: {} });
    expect(leftOut).toEqual([["adapter.r", 999], ["adapter.gone", 1]]);
  });

  test("is retried unchanged, unless a value was still to be chosen", () => {
    expect(sameRequest(job)).toMatchObject({ adapter, seed: 9, suffix: "mine", training: job.training });
    expect(isResolved(job)).toBe(true);
    expect(isResolved(aJob(1, { adapter: { type: "lora", r: "auto" } }))).toBe(false);
    expect(isResolved(aJob(1, { training: { devices: 1, learning_rate: "auto" } }))).toBe(false);
  });
});

test("the schemas of a job come from the API's document, without null and references", () => {
  const schemas = {
    CreateJob: {
      properties: {
        seed: { anyOf: [{ type: "integer", minimum: 0 }, { type: "null" }], title: "Seed" },
        integrations: {
          anyOf: [
            {
              type: "array",
              items: { oneOf: [{ $ref: "#/components/schemas/Wandb" }, { $ref: "#/components/schemas/Board" }] },
            },
            { type: "null" },
          ],
        },
      },
    },
    Wandb: {
      description: "Weights",
      properties: { type: { const: "wandb" }, wandb: { $ref: "#/components/schemas/Beta" } },
    },
    Board: { properties: { type: { const: "tensorboard" } } },
    Parameters: {
      type: "object",
      properties: { "adapter.r": { anyOf: [{ type: "array", items: { type: "integer" } }, { type: "null" }] } },
    },
    Method: {
      properties: {
        type: { enum: ["dpo", "reinforcement", "later"] },
        dpo: { anyOf: [{ $ref: "#/components/schemas/Dpo" }, { type: "null" }], description: "DPO" },
        reinforcement: { anyOf: [{ $ref: "#/components/schemas/Graded" }, { type: "null" }], description: "Reinforcement" },
        later: { anyOf: [{ $ref: "#/components/schemas/Later" }, { type: "null" }] },
      },
    },
    Dpo: { description: "Prefers one answer.\n\nRows: two answers.", properties: { hyperparameters: { anyOf: [{ $ref: "#/components/schemas/Beta" }, { type: "null" }] } } },
    Graded: { properties: { grader: { type: "object" }, hyperparameters: { anyOf: [{ $ref: "#/components/schemas/Beta" }, { type: "null" }] } }, required: ["grader"] },
    Later: { properties: { image: { type: "string" }, hyperparameters: { $ref: "#/components/schemas/Beta" } }, required: ["image"] },
    Beta: { type: "object", properties: { beta: { type: "number" } } },
  };
  const found = jobSchemas({ components: { schemas } });
  expect(found.seed).toMatchObject({ type: "integer", minimum: 0 });
  expect(found.sweep.properties).toEqual({ "adapter.r": { type: "array", items: { type: "integer" } } });
  expect(found.trackers).toEqual({
    wandb: { description: "Weights", settings: schemas.Beta },
    tensorboard: { description: "", settings: null },
  });
  expect(found.objectives).toEqual({
    dpo: {
      title: "DPO",
      paragraphs: ["Prefers one answer.", "Rows: two answers."],
      hyperparameters: { type: "object", properties: { beta: { type: "number" } } },
      beside: { properties: {}, required: [] },
    },
    reinforcement: {
      title: "Reinforcement",
      paragraphs: [],
      hyperparameters: { type: "object", properties: { beta: { type: "number" } } },
      beside: { properties: { grader: { type: "object" } }, required: ["grader"] },
    },
  });
});

test("only known values in the address of a new job are kept", () => {
  expect(parseNewJobSearch({ from: "ftjob-1", training_file: "file-1", model: 3, other: "x" })).toEqual({
    from: "ftjob-1",
    training_file: "file-1",
  });
  expect(parseNewJobSearch({ from: "ftjob-1", won: "true" })).toEqual({ from: "ftjob-1", won: true });
  expect(parseNewJobSearch({ won: "perhaps" })).toEqual({});
});
