import { expect, test } from "vitest";

import { layOut, NODE } from "@/lib/lineage/layout";

/** Edges from "a>b a>c". */
const edges = (words: string) =>
  words.split(" ").map((word) => {
    const [from = "", to = ""] = word.split(">");
    return { from, to };
  });

function laidOut(words: string) {
  const links = edges(words);
  const ids = [...new Set(links.flatMap(({ from, to }) => [from, to]))];
  return { ids, links, ...layOut(ids, links) };
}

const DIAMOND = "base>a a>b b>c base>d c>this d>this this>x this>y this>z";

test("each edge leads to the right", () => {
  const { links, corners } = laidOut(DIAMOND);
  for (const { from, to } of links) {
    expect(corners.get(to)?.x).toBeGreaterThanOrEqual((corners.get(from)?.x ?? Infinity) + NODE.width);
  }
});

test("no two nodes overlap, and all are in the drawing", () => {
  const { ids, corners, width, height } = laidOut(DIAMOND);
  const places = ids.map((id) => corners.get(id) ?? { x: NaN, y: NaN });
  for (const [at, one] of places.entries()) {
    expect(one.x >= 0 && one.y >= 0 && one.x + NODE.width <= width && one.y + NODE.height <= height).toBe(true);
    for (const other of places.slice(at + 1)) {
      expect(Math.abs(one.x - other.x) >= NODE.width || Math.abs(one.y - other.y) >= NODE.height).toBe(true);
    }
  }
});

test("a parent stands beside what was made of it, and not beside the base model", () => {
  const { corners } = laidOut(DIAMOND);
  expect(corners.get("d")?.x).toBe(corners.get("c")?.x);
});

test("the parents are in the order that makes fewest lines cross", () => {
  const { corners } = laidOut("base>a base>b base>c c>z a>x b>y x>this y>this z>this");
  const order = (names: string[]) => names.toSorted((one, other) => (corners.get(one)?.y ?? 0) - (corners.get(other)?.y ?? 0));
  const pairs: Record<string, string> = { a: "x", b: "y", c: "z" };
  expect(order(["x", "y", "z"])).toEqual(order(["a", "b", "c"]).map((name) => pairs[name]));
});

test("a line that passes through a column runs between its nodes", () => {
  const { links, lines, corners } = laidOut("base>a a>b b>this base>this");
  const passing = lines[links.findIndex(({ from, to }) => from === "base" && to === "this")]?.path ?? "";
  const heights = [...passing.matchAll(/C [\d.]+ [\d.]+ [\d.]+ [\d.]+ [\d.]+ ([\d.]+) H/g)].map(([, y]) => Number(y));
  expect(heights).toHaveLength(2);
  for (const [at, id] of ["a", "b"].entries()) {
    const top = corners.get(id)?.y ?? NaN;
    const y = heights[at] ?? NaN;
    expect(y < top || y > top + NODE.height).toBe(true);
  }
});

test("words beside lines do not lie on each other", () => {
  for (const words of [DIAMOND, "base>a base>b base>c base>d a>e e>this b>this c>this d>this base>f f>g g>this", "base>p base>q base>r base>s p>this q>this r>this s>this", "base>this this>a this>b this>c this>d this>e"]) {
    const labels = laidOut(words).lines.map(({ label }) => label);
    for (const [at, one] of labels.entries()) {
      for (const other of labels.slice(at + 1)) {
        expect(Math.abs(one.x - other.x) > 1 || Math.abs(one.y - other.y) > 1, words).toBe(true);
      }
    }
  }
});
