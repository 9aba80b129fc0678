import { describe, expect, test } from "vitest";

import { parseComposeSearch, partsOf, withoutPart, withPart } from "@/lib/addresses/composeSearch";
import { resultWords, weightsOf } from "@/lib/compose/compositionFacts";
import { EMPTY_DRAFT, missingIn, requestOf } from "@/lib/compose/draft";
import type { Composition } from "@/types/api";

const PARTS = [
  { name: "ft:sql", weight: "0.7" },
  { name: "ft:intents", weight: "-1" },
];

test("the address holds each adapter once, and not too many", () => {
  expect(parseComposeSearch({ adapters: "a, b,,a", other: 1 })).toEqual({ adapters: "a,b" });
  expect(parseComposeSearch({ adapters: 3 })).toEqual({});
  expect(withPart(undefined, "a")).toBe("a");
  expect(withPart("a", "b")).toBe("a,b");
  expect(withoutPart("a,b", "a")).toBe("b");
  expect(withoutPart("a", "a")).toBeUndefined();
  expect(partsOf(Array.from({ length: 50 }, (_, at) => `adapter-${at}`).join())).toHaveLength(16);
});

describe("the request", () => {
  test("has the weights, and leaves empty fields to the service", () => {
    expect(requestOf(PARTS, EMPTY_DRAFT)).toEqual({
      adapters: [
        { adapter: "ft:sql", weight: 0.7 },
        { adapter: "ft:intents", weight: -1 },
      ],
      method: "svd",
    });
  });

  test("has only the options of its method, whatever the fields of other methods hold", () => {
    const filled = { ...EMPTY_DRAFT, density: "0.6", majority_sign_method: "frequency", svd_rank: "8", svd_clamp: "0.9" } as const;
    const common = requestOf(PARTS, EMPTY_DRAFT).adapters;
    const asked = (method: typeof EMPTY_DRAFT.method) => requestOf(PARTS, { ...filled, method });
    const withOptions = (method: typeof EMPTY_DRAFT.method, options: object) => ({ adapters: common, method, ...options });
    expect(asked("cat")).toEqual(withOptions("cat", {}));
    expect(asked("svd")).toEqual(withOptions("svd", { svd_rank: 8, svd_clamp: 0.9 }));
    expect(asked("magnitude_prune")).toEqual(withOptions("magnitude_prune", { density: 0.6 }));
    expect(asked("ties")).toEqual(withOptions("ties", { density: 0.6, majority_sign_method: "frequency" }));
    expect(asked("dare_linear_svd")).toEqual(withOptions("dare_linear_svd", { density: 0.6, svd_rank: 8, svd_clamp: 0.9 }));
  });

  test("has a search only while the box is ticked", () => {
    const searched = { ...EMPTY_DRAFT, files: ["file-1"], trials: "4" };
    expect(requestOf(PARTS, searched).search).toBeUndefined();
    expect(requestOf(PARTS, { ...searched, isSearched: true }).search).toEqual({ files: ["file-1"], criterion: "loss", trials: 4 });
  });

  test("waits for two adapters, and for the files of a search", () => {
    expect(missingIn(1, EMPTY_DRAFT)).toContain("at least two adapters");
    expect(missingIn(2, EMPTY_DRAFT)).toBeNull();
    expect(missingIn(2, { ...EMPTY_DRAFT, isSearched: true })).toContain("file");
  });
});

test("a search says what it found, and an infinite loss does not count", () => {
  const request = { adapters: [{ adapter: "a", weight: 1 }, { adapter: "b", weight: 1 }], method: "cat" };
  const trials = [
    { weights: [1, 1], losses: [0.5, 0.25], loss: 0.375 },
    { weights: [1.5, 1], losses: [null, 0.25], loss: null },
    { weights: [0.5, 1], losses: [0.25, 0.25], loss: 0.25 },
  ];
  const found = { request, report: { weights: [0.5, 1], rank: 16, layers: 3, trials } } as unknown as Composition;
  expect(resultWords(found)).toBe(
    "Rank 16 in 3 layers. The search went from a mean loss of 0.3750 to a mean loss of 0.2500.",
  );
  expect(weightsOf(found)).toEqual([0.5, 1]);
  expect(weightsOf({ ...found, report: null })).toEqual([1, 1]);
  expect(resultWords({ ...found, report: null })).toBeNull();
  expect(resultWords({ ...found, report: { trials } })).toBeNull(); // it still searches
});

test("a search for right answers says how many are right", () => {
  const request = { adapters: [{ adapter: "a", weight: 1 }], method: "cat" };
  const trials = [
    { weights: [1], losses: [0.5], loss: 0.5, scores: [0.25], score: 0.25 },
    { weights: [2], losses: [0.75], loss: 0.75, scores: [0.5], score: 0.5 },
  ];
  const found = { request, report: { weights: [2], rank: 8, layers: 3, trials } } as unknown as Composition;
  expect(resultWords(found)).toBe(
    "Rank 8 in 3 layers. The search went from 25 % right and a mean loss of 0.5000 to 50 % right and a mean loss of 0.7500.",
  );
});
