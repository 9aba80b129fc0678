import { expect, test } from "vitest";

import { edgeWords, type Graph, graphOf, originWords, partsOf, withoutLateOnes, withoutLongChains } from "@/lib/lineage/graph";
import type { Adapter, Descendant, Export } from "@/types/api";

type Ancestor = Adapter["lineage"][number];

const NOTHING = { exports: [], composed: [], jobs: [] };

function ancestor(name: string, more: Partial<Ancestor> = {}): Ancestor {
  return { model: `ft:${name}`, adapter_id: name, job_id: `job of ${name}`, step: null, sha256: "0", weight: null, ...more };
}

function adapter(name: string, lineage: Ancestor[] = [], more: Partial<Adapter> = {}): Adapter {
  return { id: name, model: `ft:${name}`, base_model: "base", job_id: `job of ${name}`, lineage, ...more } as Adapter;
}

/** The edges as "from > to: words". */
const shown = ({ edges }: Graph) => edges.map((edge) => `${edge.from} > ${edge.to}: ${edgeWords(edge)}`);
const ids = ({ nodes }: Graph) => nodes.map(({ id }) => id);

test("a first adapter was trained from its base model, or imported", () => {
  expect(shown(graphOf(adapter("a"), new Map(), NOTHING))).toEqual(["base > a: trained"]);
  expect(shown(graphOf(adapter("a", [], { job_id: null }), new Map(), NOTHING))).toEqual(["base > a: imported"]);
});

test("a chain leads through each model from which a job continued, also a checkpoint and an imported one", () => {
  const checkpoint = ancestor("b", { model: "ft:b:ckpt-step-2", adapter_id: null, step: 2 });
  const graph = graphOf(adapter("c", [checkpoint, ancestor("a", { job_id: null })]), new Map(), NOTHING);
  expect(shown(graph)).toEqual(["ft:b:ckpt-step-2 > c: continued", "a > ft:b:ckpt-step-2: continued", "base > a: imported"]);
  const node = graph.nodes.find(({ id }) => id === "ft:b:ckpt-step-2");
  expect(node).toMatchObject({ note: "checkpoint of step 2", leadsTo: { page: "job", id: "job of b" } });
});

test("parents of a composition are there once each, also one that is a parent of another parent", () => {
  const [a, b] = [ancestor("a", { weight: 0.7 }), ancestor("b", { weight: -0.3 })];
  const parts = new Map([
    ["a", adapter("a")],
    ["b", adapter("b", [ancestor("a")])],
  ]);
  const graph = graphOf(adapter("both", [a, b], { job_id: null }), parts, NOTHING);
  expect(ids(graph)).toEqual(["base", "a", "b", "both"]);
  expect(shown(graph)).toEqual([
    "a > both: composed × 0.7000",
    "base > a: trained",
    "b > both: composed × -0.3000",
    "a > b: continued",
  ]);
  const inOtherOrder = graphOf(adapter("both", [b, a], { job_id: null }), parts, NOTHING);
  expect(shown(inOtherOrder).toSorted()).toEqual(shown(graph).toSorted());
  expect(originWords("both", graph)).toBe("composed from ft:a × 0.7000, ft:b × -0.3000");
  expect(originWords("base", graph)).toBe("");
});

test("the parts of a composition from which a job continued are shown too, and parts of parts are asked for", () => {
  const inner = ancestor("inner", { weight: 1, job_id: null });
  const child = adapter("child", [ancestor("outer", { job_id: null }), inner]);
  const read = (id: string) => (id === "inner" ? adapter("inner", [ancestor("first", { weight: 2 })], { job_id: null }) : undefined);
  expect(partsOf(child, read)).toEqual(["inner", "first"]);
  expect(shown(graphOf(child, new Map(), NOTHING))).toEqual([
    "outer > child: continued",
    "inner > outer: composed × 1.000",
    "base > inner: made", // its own page could not be read
  ]);
});

test("exports, compositions and jobs come after the adapter", () => {
  const gguf = { status: "succeeded", request: { format: "gguf", quantization: "q8_0" } } as Export;
  const failed = { status: "failed", request: { format: "mlx" } } as Export;
  const composed = adapter("both", [ancestor("other", { weight: 2 }), ancestor("a", { weight: 0.5 })]);
  const jobs = [
    { id: "job 1", status: "succeeded", model: "ft:child", adapter_id: "child" },
    { id: "job 2", status: "running", model: null, adapter_id: null },
  ] as Descendant[];
  const graph = graphOf(adapter("a"), new Map(), { exports: [gguf, gguf, failed], composed: [composed], jobs });
  expect(shown(graph).slice(1)).toEqual([
    "a > export GGUF model (llama.cpp, Ollama), q8_0: exported",
    "a > both: composed × 0.5000",
    "a > child: continued",
    "a > job 2: continued",
  ]);
  expect(graph.nodes.map(({ leadsTo }) => leadsTo)).toEqual([
    null,
    null,
    "exports",
    { page: "adapter", id: "both" },
    { page: "adapter", id: "child" },
    { page: "job", id: "job 2" },
  ]);
});

test("the first models of a long chain are folded, and a short chain is not", () => {
  const names = Array.from({ length: 12 }, (_, at) => `a${String(12 - at)}`); // the parent first
  const long = graphOf(adapter("a13", names.map((name) => ancestor(name))), new Map(), NOTHING);
  const folded = withoutLongChains(long);
  expect(ids(folded)).toEqual(["base", "a12", "a11", "a10", "instead of a1", "a13"]);
  expect(folded.nodes.find(({ kind }) => kind === "folded")?.name).toBe("9 models between");
  expect(shown(folded)).toContain("base > instead of a1: trained");
  expect(shown(folded)).toContain("instead of a1 > a10: continued");
  expect(folded.edges).toHaveLength(5);
  const short = graphOf(adapter("a5", names.slice(-4).map((name) => ancestor(name))), new Map(), NOTHING);
  expect(withoutLongChains(short)).toBe(short);
});

test("of many jobs that continue from an adapter, the first are shown", () => {
  const jobs = Array.from({ length: 20 }, (_, at) => ({ id: `job ${String(at)}`, status: "failed", model: null, adapter_id: null }) as Descendant);
  const graph = withoutLateOnes(graphOf(adapter("a"), new Map(), { ...NOTHING, jobs }));
  expect(graph.nodes.at(-1)).toMatchObject({ kind: "folded", name: "14 more" });
  expect(shown(graph).at(-1)).toBe("a > instead of job 6: continued");
  expect(ids(graph)).toHaveLength(2 + 6 + 1);
});
