import { describe, expect, test } from "vitest";

import { isFixed, type Schema } from "@/lib/schemas/schema";
import { defaultText, parse, parsePairs, parseTexts, schemaFields, writePairs, writeTexts } from "@/lib/schemas/schemaFields";
import { problems } from "@/lib/schemas/schemaProblems";
import { words } from "@/lib/schemas/schemaWords";

import { OFFER } from "./offer";

const LORA = OFFER.methods[0]?.schema ?? {};
const of = (name: string): Schema => LORA.properties?.[name] ?? {};

test("a form has a field for each option that can be chosen, numbers first", () => {
  expect(schemaFields(LORA).map(({ name, kind }) => [name, kind])).toEqual([
    ["r", "text"],
    ["lora_alpha", "text"],
    ["lora_dropout", "text"],
    ["target_modules", "text"],
    ["init_lora_weights", "choice"],
    ["use_dora", "switch"],
    ["rank_pattern", "pairs"],
    ["eva_config", "group"],
  ]);
});

test.each<[Schema]>([
  [{ type: "null" }],
  [{ const: false }],
  [{ type: "number", minimum: 0, maximum: 0 }],
  [{ type: "object", maxProperties: 0 }],
])("%o leaves nothing to choose", (schema) => expect(isFixed(schema)).toBe(true));

describe("a typed text", () => {
  test.each<[string, string, unknown]>([
    ["r", " 8 ", 8],
    ["r", "auto", "auto"],
    ["r", "1e1", 10],
    ["r", "", undefined],
    ["r", "eight", "eight"],
    ["target_modules", "all-linear", "all-linear"],
    ["target_modules", "q_proj, v_proj", ["q_proj", "v_proj"]],
    ["init_lora_weights", "true", true],
    ["init_lora_weights", "pissa_niter_4", "pissa_niter_4"],
  ])("in %s as %j is %j", (name, text, value) => expect(parse(text, of(name))).toEqual(value));

  test("of lines becomes an object, and the object becomes the lines", () => {
    const pairs = parsePairs("layers.0.q_proj = 4\n\nv_proj: 8\n", of("rank_pattern"));
    expect(pairs).toEqual({ "layers.0.q_proj": 4, v_proj: 8 });
    expect(writePairs(pairs)).toBe("layers.0.q_proj = 4\nv_proj = 8");
    expect(parsePairs("\n", of("rank_pattern"))).toBeUndefined();
  });

  test("of lines becomes a list of texts with spaces and commas, and the list becomes the lines", () => {
    const prompts = OFFER.schemas.augmentation.properties?.system_prompts ?? {};
    expect(schemaFields(OFFER.schemas.augmentation).at(-1)).toMatchObject({ name: "system_prompts", kind: "texts" });
    expect(words(prompts)).toContain("one text on each line");
    const texts = parseTexts("Be brief, please.\n\n One line\\nand another ");
    expect(texts).toEqual(["Be brief, please.", "One line\nand another"]);
    expect(writeTexts(texts)).toBe("Be brief, please.\nOne line\\nand another");
    expect(parseTexts(" \n")).toBeUndefined();
  });
});

test.each<[string, unknown, boolean]>([
  ["r", 256, true],
  ["r", 257, false],
  ["r", "auto", true],
  ["lora_dropout", 0, true],
  ["lora_dropout", 1, false],
  ["lora_alpha", 1.5, false],
  ["target_modules", [], false],
  ["target_modules", "q_proj", false],
  ["init_lora_weights", "pissa_niter_4", true],
  ["init_lora_weights", "pissa_niter_x", false],
  ["rank_pattern", { q_proj: 4 }, true],
  ["rank_pattern", { "q proj": 4 }, false],
  ["eva_config", null, true],
  ["eva_config", { rho: 2 }, true],
  ["eva_config", { tau: 2 }, false],
])("%s takes %j: %s", (name, value, taken) => expect(problems(value, of(name), name).length === 0).toBe(taken));

test.each<[string, unknown, string, string]>([
  ["r", 257, "r", "It must be a whole number from 1 to 256 or auto."],
  ["target_modules", ["q_proj", 3], "target_modules", "It must be names, with commas between or all-linear."],
  ["rank_pattern", { "layers/0#1": 4 }, "rank_pattern.layers/0#1", "There is no such option."],
  ["rank_pattern", { "q.proj": 0 }, "rank_pattern.q.proj", "It must be a whole number from 1 to 256."],
  ["eva_config", { rho: 0 }, "eva_config.rho", "It must be a number of at least 1."],
  ["eva_config", 7, "eva_config", "It must be lines such as q_proj = text."],
])("%s as %j is refused once, at %s: %s", (name, value, path, message) => {
  expect(problems(value, of(name), name)).toEqual([{ path, message }]);
});

test("a message shows only the beginning of a long name", () => {
  const message = `The name ${"n".repeat(20)}… must be a text, at most 64 characters long.`;
  expect(problems({ ["n".repeat(65)]: "x" }, OFFER.schemas.metadata, "metadata")).toEqual([{ path: "metadata", message }]);
});

test.each<[string, string]>([
  ["r", "a whole number from 1 to 256 or auto"],
  ["lora_dropout", "a number of at least 0 and below 1"],
  ["target_modules", "names, with commas between or all-linear"],
])("the allowed values of %s are %s", (name, text) => expect(words(of(name))).toBe(text));

test("a default is the placeholder, unless it is null or an object", () => {
  expect([defaultText(of("r")), defaultText(of("eva_config")), defaultText(of("rank_pattern"))]).toEqual(["16", "", ""]);
});
