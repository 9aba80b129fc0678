import { describe, expect, test } from "vitest";

import { sparkPath } from "@/lib/charts/sparkline";
import { hasAll, toggled, withAll, withoutAll } from "@/lib/jobs/selection";

const set = (ids: string) => new Set(ids);

test("a job is selected and unselected, and the others stay", () => {
  expect(toggled(set("ab"), "c")).toEqual(set("abc"));
  expect(toggled(set("abc"), "b")).toEqual(set("ac"));
});

test("the jobs found are selected and unselected together, and hidden jobs stay", () => {
  expect(withAll(set("ha"), ["a", "b"])).toEqual(set("hab"));
  expect(withoutAll(set("hab"), ["a", "b"])).toEqual(set("h"));
  expect(hasAll(set("hab"), ["a", "b"])).toBe(true);
  expect(hasAll(set("h"), [])).toBe(false);
});

describe("a small curve", () => {
  const size = { width: 10, height: 22 };

  test("goes from edge to edge, the smallest value at the bottom", () => {
    expect(sparkPath(Float64Array.of(3, 1, 2), size)).toBe("M0.0 1.0L5.0 21.0L10.0 11.0");
  });

  test("leaves out NaN, and is a straight line for a single value", () => {
    expect(sparkPath(Float64Array.of(3, NaN, 1), size)).toBe("M0.0 1.0L10.0 21.0");
    expect(sparkPath(Float64Array.of(3), size)).toBe("M0 11h10");
    expect(sparkPath(Float64Array.of(2, 2), size)).toBe("M0.0 11.0L10.0 11.0");
  });
});
