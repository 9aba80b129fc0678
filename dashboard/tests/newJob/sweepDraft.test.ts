import { describe, expect, test } from "vitest";

import { automaticValuesOf } from "@/lib/newJob/automaticValues";
import { type Draft, EMPTY_DRAFT, fieldPaths, problemsOf, requestOf } from "@/lib/newJob/draft";
import { combinations, parseTried, takesLists, triedFields, writeTried } from "@/lib/newJob/sweepDraft";

import { OFFER } from "./offer";

const BEGUN: Draft = { ...EMPTY_DRAFT, model: "tiny-model", training_file: "file-1", validation_file: "file-2" };
const sweeping = (tried: Draft["tried"], other: Partial<Draft> = {}): Draft => ({ ...BEGUN, ...other, tried });
const found = (draft: Draft) => problemsOf(draft, OFFER).map(({ path }) => path);
const { sweep } = OFFER.schemas;
const targets = sweep.properties?.["adapter.target_modules"] ?? {};

describe("values to try", () => {
  test("are read and written, with plus signs between the names of a list", () => {
    expect(parseTried("0.1, 1e-4", sweep.properties?.["training.learning_rate"] ?? {})).toEqual([0.1, 1e-4]);
    expect(parseTried("4 8", sweep.properties?.["adapter.r"] ?? {})).toEqual([4, 8]);
    const values = parseTried("all-linear, q_proj+v_proj, q_proj", targets);
    expect(values).toEqual(["all-linear", ["q_proj", "v_proj"], ["q_proj"]]);
    expect(writeTried(values)).toBe("all-linear, q_proj+v_proj, q_proj");
    expect(parseTried(" , ", targets)).toBeUndefined();
    expect([takesLists(targets), takesLists(sweep.properties?.["adapter.r"] ?? {})]).toEqual([true, false]);
  });

  test("exist only for options that the chosen adapter has", () => {
    const of = (adapter: object) => triedFields(sweep, adapter).map(([place]) => place);
    expect(of({ properties: { r: {} } })).toEqual(["training.learning_rate", "adapter.r"]);
    expect(of({})).toEqual(["training.learning_rate"]);
  });

  test("make a candidate for each combination", () => {
    expect(combinations({ a: [1, 2], b: [1, 2, 3] })).toBe(6);
  });
});

describe("the request", () => {
  test("is one for a sweep only if values are tried", () => {
    const tried = { "adapter.r": [4, 8] };
    expect(requestOf(sweeping(tried), OFFER).parameters).toEqual(tried);
    expect(requestOf(BEGUN, OFFER)).not.toHaveProperty("parameters");
  });

  test("leaves out the values of another adapter, and the draft keeps them", () => {
    const draft = sweeping({ "adapter.r": [4, 8], "training.learning_rate": [0.1, 0.2] }, { adapter: "oft" });
    expect(requestOf(draft, OFFER).parameters).toEqual({ "training.learning_rate": [0.1, 0.2] });
    expect(requestOf({ ...draft, adapter: "lora" }, OFFER).parameters).toEqual(draft.tried);
  });
});

describe("the check", () => {
  test("accepts two and more candidates", () => {
    expect(found(sweeping({ "adapter.r": [4, 8] }))).toEqual([]);
  });

  test("finds too few, too many, wrong values and a missing validation file", () => {
    expect(found(sweeping({}))).toEqual(["parameters"]);
    expect(found(sweeping({ "adapter.r": [4] }))).toEqual(["parameters"]);
    const many = { "adapter.r": [1, 2, 3, 4, 5], "training.learning_rate": [0.1, 0.2, 0.3, 0.4] };
    expect(found(sweeping(many))).toEqual(["parameters"]);
    expect(found(sweeping({ "adapter.r": [4, 999] }))).toEqual(["parameters.adapter.r"]);
    expect(found(sweeping({ "adapter.r": [4, 8] }, { validation_file: "" }))).toEqual(["validation_file"]);
  });

  test("has a field for each problem", () => {
    expect(fieldPaths(sweeping({}), OFFER)).toEqual(
      expect.arrayContaining(["parameters", "parameters.adapter.r", "parameters.training.learning_rate"]),
    );
  });

  test("lists no automatic value for an option that is tried", () => {
    const paths = (draft: Draft) => automaticValuesOf(draft, OFFER).map(({ path }) => path);
    expect(paths(BEGUN)).toContain("training.learning_rate");
    expect(paths(sweeping({ "training.learning_rate": [0.1, 0.2] }))).not.toContain("training.learning_rate");
  });
});
