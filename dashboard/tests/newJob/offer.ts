import type { Offer } from "@/lib/newJob/draft";
import type { Method } from "@/lib/schemas/method";
import type { Schema } from "@/lib/schemas/schema";

const auto = (kind: Schema): Schema => ({ anyOf: [{ const: "auto", type: "string" }, kind], default: "auto" });
const names: Schema = { anyOf: [{ const: "all-linear", type: "string" }, { type: "array", minItems: 1, items: { type: "string" } }] };

const hyperparameters: Schema = {
  type: "object",
  properties: {
    n_epochs: { ...auto({ type: "integer", minimum: 1, maximum: 50 }), description: "Passes; `auto` goes by the rows" },
    batch_size: auto({ type: "integer", minimum: 1, maximum: 256 }),
    learning_rate_multiplier: auto({ type: "number", exclusiveMinimum: 0, maximum: 1000 }),
  },
};

const LORA: Schema = {
  type: "object",
  properties: {
    type: { const: "lora", default: "lora", type: "string" },
    target_modules: { ...names, default: "all-linear" },
    exclude_modules: { type: "null", default: null },
    r: { anyOf: [{ type: "integer", minimum: 1, maximum: 256 }, { const: "auto", type: "string" }], default: 16 },
    lora_alpha: {
      type: "integer",
      minimum: 1,
      maximum: 4096,
      default: 32,
      description: "Scale; with an automatic rank twice the rank",
    },
    lora_dropout: { type: "number", minimum: 0, exclusiveMaximum: 1, default: 0 },
    use_dora: { type: "boolean", default: false },
    init_lora_weights: {
      anyOf: [{ enum: [true, "gaussian", "pissa"] }, { type: "string", pattern: "^pissa_niter_[1-9]$" }],
      default: true,
    },
    rank_pattern: {
      type: "object",
      patternProperties: { "^[a-z_.]+$": { type: "integer", minimum: 1, maximum: 256 } },
      additionalProperties: false,
      default: {},
    },
    eva_config: {
      anyOf: [
        { type: "object", properties: { rho: { type: "number", minimum: 1, default: 2 } }, additionalProperties: false },
        { type: "null" },
      ],
      default: null,
    },
  },
};

const OFT: Schema = {
  type: "object",
  required: ["type", "oft_block_size"],
  properties: { type: { const: "oft", type: "string" }, oft_block_size: { type: "integer", minimum: 0 } },
};

function several(items: Schema): Schema {
  return { type: "array", minItems: 1, maxItems: 16, items };
}

function settings(needed: string): Schema {
  const text = { type: "string", minLength: 1 };
  const tracking_uri = { anyOf: [{ type: "string" }, { type: "null" }], default: null };
  return { type: "object", required: [needed], properties: { [needed]: text, tracking_uri }, additionalProperties: false };
}

function method(id: string, title: string, schema: Schema): Method {
  const told = { good_for: "", cost: "", runtimes: ["PEFT"], result: "adapter", paper: null, trains: "cohort" } as const;
  const takes = { takes_quantized: true, takes_fsdp: true };
  return { id, object: "method", title, schema, learning_rate: 2e-4, ...told, ...takes, runtimes: ["PEFT"] };
}

/** A service with two base models and two methods. */
const tool = {
  type: "object",
  properties: {
    name: { type: "string", pattern: "^[a-zA-Z0-9_-]{1,64}$" },
    server_url: { type: "string", minLength: 1, maxLength: 2048 },
    headers: { anyOf: [{ type: "object", patternProperties: { "^[a-z-]+$": { type: "string" } } }, { type: "null" }] },
  },
  additionalProperties: false,
  required: ["name", "server_url"],
};

export const OFFER: Offer = {
  models: ["tiny-model", "small-model"],
  methods: [method("lora", "LoRA", LORA), method("oft", "OFT", OFT)],
  trackers: [
    { id: "wandb", tracking_uris: [] },
    { id: "mlflow", tracking_uris: ["https://first", "https://second"] },
    { id: "tensorboard", tracking_uris: [] },
  ],
  schemas: {
    suffix: { type: "string", minLength: 1, maxLength: 64, pattern: "^[A-Za-z0-9._-]+$" },
    seed: { type: "integer", minimum: 0, maximum: 2 ** 31 - 1 },
    metadata: {
      type: "object",
      maxProperties: 16,
      propertyNames: { maxLength: 64 },
      additionalProperties: { type: "string", maxLength: 512 },
    },
    validation_split: {
      anyOf: [
        { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
        { type: "integer", minimum: 1, maximum: 1_000_000 },
        { type: "null" },
      ],
    },
    augmentation: {
      type: "object",
      properties: {
        copies: { type: "integer", minimum: 1, maximum: 4, default: 1 },
        typing_noise: { type: "number", minimum: 0, maximum: 0.2, default: 0 },
        user_case: { type: "boolean", default: false },
        system_prompts: {
          anyOf: [
            { type: "array", minItems: 1, items: { type: "string", minLength: 1, maxLength: 10_000 } },
            { type: "null" },
          ],
        },
      },
      additionalProperties: false,
    },
    training: {
      type: "object",
      properties: {
        learning_rate: { anyOf: [{ type: "number", exclusiveMinimum: 0, maximum: 1 }, { type: "null" }], description: "The peak; null is the usual" },
        warmup_ratio: { type: "number", minimum: 0, maximum: 1, default: 0.03 },
        max_length: { anyOf: [{ type: "integer", minimum: 8 }, { type: "null" }], description: "Null is the limit" },
        devices: { type: "integer", minimum: 1, maximum: 64, default: 1 },
      },
    },
    sweep: {
      type: "object",
      properties: {
        "training.learning_rate": several({ type: "number", exclusiveMinimum: 0, maximum: 1 }),
        "adapter.r": several({ type: "integer", minimum: 1, maximum: 256 }),
        "adapter.target_modules": several(names),
      },
    },
    trackers: {
      wandb: { description: "Weights & Biases", settings: settings("project") },
      mlflow: { description: "MLflow", settings: settings("experiment") },
      tensorboard: { description: "An event file", settings: null },
    },
    objectives: {
      supervised: { title: "Supervised", paragraphs: [], hyperparameters, beside: {} },
      dpo: {
        title: "DPO",
        paragraphs: [],
        hyperparameters: {
          ...hyperparameters,
          properties: { ...hyperparameters.properties, beta: auto({ type: "number", exclusiveMinimum: 0, maximum: 2 }) },
        },
        beside: {},
      },
      distillation: {
        title: "Distillation",
        paragraphs: [],
        hyperparameters,
        beside: { properties: { teacher: { type: "string" } }, required: ["teacher"] },
      },
      reinforcement: {
        title: "Reinforcement",
        paragraphs: [],
        hyperparameters,
        beside: {
          properties: {
            grader: { type: "object" },
            tools: { anyOf: [{ type: "array", items: tool }, { type: "null" }] },
            max_episode_steps: { type: "integer", minimum: 1, maximum: 100, default: 10 },
            response_format: { anyOf: [{ type: "object" }, { type: "null" }] },
          },
          required: ["grader"],
        },
      },
    },
  },
};
