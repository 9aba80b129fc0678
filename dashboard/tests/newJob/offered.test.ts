/** The form against what the service offers: tests/unit/dashboard/test_units.py writes that into a file. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

import { isRecord } from "@/lib/isRecord";
import { EMPTY_DRAFT, fieldPaths, type Offer, problemsOf } from "@/lib/newJob/draft";
import { graderExamples } from "@/lib/newJob/graderExamples";
import { jobSchemas, type JobSchemas } from "@/lib/newJob/jobSchemas";
import { triedFields } from "@/lib/newJob/sweepDraft";
import type { Method } from "@/lib/schemas/method";
import { expand, type Schema } from "@/lib/schemas/schema";
import { schemaFields } from "@/lib/schemas/schemaFields";
import { problems } from "@/lib/schemas/schemaProblems";
import { PATTERN_WORDS } from "@/lib/schemas/schemaWords";

const KNOWN = new Set([
  ...["type", "const", "enum", "anyOf", "items", "minItems", "maxItems", "pattern", "minLength", "maxLength"],
  ...["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "properties", "patternProperties"],
  ...["additionalProperties", "propertyNames", "maxProperties", "required", "default", "description", "title", "$defs"],
]);

const file = process.env.TUNERY_OFFERED;

describe.skipIf(file === undefined)("what the service offers", () => {
  const { document, methods } = JSON.parse(file === undefined ? "{}" : readFileSync(file, "utf8")) as {
    document: unknown;
    methods: Method[];
  };
  const offer = (): Offer => ({
    models: ["tiny"],
    methods: methods.map((method) => ({ ...method, schema: expand(method.schema, method.schema) })),
    schemas: jobSchemas(document),
    trackers: [{ id: "mlflow", tracking_uris: ["https://first", "https://second"] }],
  });
  const draft = { ...EMPTY_DRAFT, model: "tiny", training_file: "file-1" };

  test("has no keyword for which the form lacks words", () => {
    const { methods: offered, schemas } = offer();
    const all = [...offered.map(({ schema }) => schema), ...Object.values(schemas.objectives).map((objective) => objective.hyperparameters)];
    const others = [schemas.training, schemas.suffix, schemas.seed, schemas.metadata, schemas.sweep, schemas.augmentation];
    for (const schema of [...all, ...others, ...trackerSchemas(schemas)]) {
      expect([...keywords(schema)].filter((name) => !KNOWN.has(name))).toEqual([]);
    }
  });

  test("has no pattern for which the form lacks words", () => {
    const { methods: offered, schemas } = offer();
    const all = [...offered.map(({ schema }) => schema), ...Object.values(schemas.objectives).map((objective) => objective.hyperparameters)];
    const others = [schemas.training, schemas.suffix, schemas.metadata, schemas.sweep, schemas.augmentation];
    const patterns = [...all, ...others, ...trackerSchemas(schemas)].flatMap(patternsIn);
    expect(patterns).not.toEqual([]);
    const tools = schemas.objectives.reinforcement?.beside.properties?.tools ?? {};
    expect([...patterns, ...patternsIn(tools)].filter((pattern) => !PATTERN_WORDS.has(pattern))).toEqual([]);
  });

  test("has a description for each field", () => {
    const { methods: offered, schemas } = offer();
    const all = [...offered.map(({ schema }) => schema), ...Object.values(schemas.objectives).map((objective) => objective.hyperparameters), schemas.training];
    all.push(...trackerSchemas(schemas));
    const silent = all.flatMap((schema) => schemaFields(schema).filter((field) => !field.schema.description));
    expect(silent.map(({ name }) => name)).toEqual([]);
  });

  test("accepts the defaults of each adapter and objective", () => {
    for (const { id, schema } of offer().methods) {
      for (const { name, schema: option } of schemaFields(schema)) {
        if ("default" in option) expect(problems(option.default, option, `${id}.${name}`)).toEqual([]);
      }
      const wrong = problemsOf({ ...draft, adapter: id }, offer()).map(({ message }) => message);
      expect(new Set(wrong)).toEqual(new Set(wrong.length ? ["It is required."] : []));
    }
    const objectives = Object.keys(offer().schemas.objectives);
    expect(objectives).toContain("supervised");
    const [grader] = Object.values(graderExamples("tiny"));
    for (const objective of objectives) expect(problemsOf({ ...draft, objective, beside: { grader, teacher: "another" } }, offer())).toEqual([]);
  });

  test("has a grader of each type to start from", () => {
    const { grader = {} } = offer().schemas.objectives.reinforcement?.beside.properties ?? {};
    const examples = Object.values(graderExamples("tiny"));
    expect(examples.map(({ type }) => type)).toEqual(["string_check", "text_similarity", "score_model", "python", "multi"]);
    for (const example of examples) expect(problems(example, grader, "grader")).toEqual([]);
    expect(problems({ type: "string_check" }, grader, "grader")).not.toEqual([]);
  });

  test("accepts no module name that cannot exist", () => {
    const options = { lora: { rank_pattern: { q_proj: 4, "q proj": 4 } } };
    const path = "adapter.rank_pattern.q proj";
    expect(problemsOf({ ...draft, options }, offer())).toEqual([{ path, message: "There is no such option." }]);
  });

  test("can be tried in a sweep, at least for these paths", () => {
    const { schemas, methods: offered } = offer();
    const lora = offered.find(({ id }) => id === "lora")?.schema ?? {};
    const places = triedFields(schemas.sweep, lora).map(([place]) => place);
    expect(places.sort()).toEqual(["adapter.lora_alpha", "adapter.r", "adapter.target_modules", "training.learning_rate"]);
    const tried = { "adapter.r": [4, 8], "adapter.target_modules": ["all-linear", ["q_proj"]] };
    expect(problemsOf({ ...draft, validation_file: "file-2", tried }, offer())).toEqual([]);
  });

  test("has schemas for the trackers and their settings", () => {
    const { trackers } = offer().schemas;
    expect(Object.keys(trackers).sort()).toEqual(["mlflow", "tensorboard", "wandb"]);
    expect(schemaFields(trackers.wandb?.settings ?? {}).map(({ name }) => name)).toContain("project");
    expect(trackers.tensorboard?.settings).toBeNull();
  });

  test("has a field for the usual errors of the API", () => {
    const paths = fieldPaths(draft, offer());
    expect(paths).toEqual(expect.arrayContaining(["adapter.r", "adapter.eva_config.rho", "training.devices"]));
    const rewarded = { ...draft, objective: "reinforcement", beside: { tools: [{}] } };
    const tool = ["name", "server_url", "headers"].map((name) => `method.reinforcement.tools.0.${name}`);
    expect(fieldPaths(rewarded, offer())).toEqual(expect.arrayContaining([...tool, "method.reinforcement.max_episode_steps"]));
  });
});

const trackerSchemas = ({ trackers }: JobSchemas) => Object.values(trackers).flatMap(({ settings }) => settings ?? []);

/** The schema itself, and all schemas in it. */
function schemasIn(schema: Schema): Schema[] {
  const inner = [...(schema.anyOf ?? []), schema.items, schema.propertyNames, schema.additionalProperties];
  const members = [...Object.values(schema.properties ?? {}), ...Object.values(schema.patternProperties ?? {})];
  return [schema, ...[...inner, ...members].filter(isRecord).flatMap((one) => schemasIn(one))];
}

const keywords = (schema: Schema) => new Set(schemasIn(schema).flatMap((one) => Object.keys(one)));

const patternsIn = (schema: Schema) => schemasIn(schema).flatMap(({ pattern }) => pattern ?? []);
