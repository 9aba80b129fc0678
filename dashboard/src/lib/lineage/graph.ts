/** What an adapter was made of, and what was made of it: nodes, and edges that say how. */

import { formatWords } from "@/lib/facts/exportFacts";
import { significant } from "@/lib/text/format";
import type { Adapter, Descendant, Export } from "@/types/api";

type Ancestor = Adapter["lineage"][number];

/** `made` stands where nobody knows how: the part of a composition is deleted, or belongs to another project. */
type Verb = "trained" | "continued" | "composed" | "imported" | "exported" | "made";

export interface Node {
  id: string;
  name: string;
  note: string | null;
  /** Where a click leads; null for what has no page. */
  leadsTo: { page: "adapter" | "job"; id: string } | "exports" | null;
  kind: "base" | "before" | "this" | "after" | "folded";
}

export interface Edge {
  from: string;
  to: string;
  verb: Verb;
  weight: number | null;
}

export interface Graph {
  nodes: readonly Node[];
  edges: readonly Edge[];
}

/** What was made of the adapter. */
export interface Made {
  exports: readonly Export[];
  composed: readonly Adapter[];
  jobs: readonly Descendant[];
}

type Adapters = ReadonlyMap<string, Adapter>;

const KEPT = 3; // models of a long chain that are shown after those that are folded
const MOST_AFTER = 6;

/** The word beside an edge, such as "composed × 0.7". */
export const edgeWords = ({ verb, weight }: Edge) => (weight === null ? verb : `${verb} × ${significant(weight)}`);

/** How a node was made, as a sentence: "composed from sql × 0.7, intents × −0.3". Empty for a base model. */
export function originWords(id: string, { nodes, edges }: Graph): string {
  const into = edges.filter(({ to }) => to === id);
  const names = into.map(({ from, weight }) => {
    const name = nodes.find((node) => node.id === from)?.name ?? from;
    return weight === null ? name : `${name} × ${significant(weight)}`;
  });
  return into[0] ? `${into[0].verb} from ${names.join(", ")}` : "";
}

/** The ids of all adapters whose own origin the graph needs: the parts of compositions, and their parts. */
export function partsOf(adapter: Adapter, read: (id: string) => Adapter | undefined): string[] {
  const found = new Set<string>();
  const open = [adapter];
  for (let next = open.pop(); next; next = open.pop()) {
    for (const { weight, adapter_id: id } of next.lineage) {
      if (weight == null || !id || found.has(id)) continue;
      found.add(id);
      const part = read(id);
      if (part) open.push(part);
    }
  }
  return [...found];
}

/** The whole graph of an adapter. `parts` are the adapters that `partsOf` names, as far as they are read. */
export function graphOf(adapter: Adapter, parts: Adapters, made: Made): Graph {
  const before = new Before(adapter.base_model, parts);
  before.add(adapter.id, adapter, adapter.lineage);
  const itself: Node = { id: adapter.id, name: adapter.model, note: "this adapter", leadsTo: null, kind: "this" };
  const after = madeOf(adapter, made);
  return {
    nodes: [...before.nodes.values(), itself, ...after.map(({ node }) => node)],
    edges: [...before.edges, ...after.map(({ edge }) => edge)],
  };
}

/** The ancestors of an adapter. One that is a parent of several models is there once. */
class Before {
  readonly nodes = new Map<string, Node>();
  readonly edges: Edge[] = [];
  readonly #base: string;
  readonly #parts: Adapters;

  constructor(base: string, parts: Adapters) {
    this.#base = base;
    this.#parts = parts;
    this.nodes.set(base, { id: base, name: base, note: "base model", leadsTo: null, kind: "base" });
  }

  /** Adds what a model was made of. `lineage` has its parents, and their parents. */
  add(id: string, { job_id }: { job_id: string | null }, lineage: readonly Ancestor[]): void {
    const [parent, ...earlier] = lineage;
    if (!parent) {
      this.#connect(this.#base, id, job_id ? "trained" : "imported");
    } else if (parent.weight == null) {
      if (this.#connect(this.#node(parent), id, "continued")) this.add(idOf(parent), parent, earlier);
    } else {
      for (const part of lineage) this.#addPart(part, id);
    }
  }

  #addPart(part: Ancestor, to: string): void {
    const isNew = this.#connect(this.#node(part), to, "composed", part.weight);
    if (!isNew) return;
    const known = part.adapter_id ? this.#parts.get(part.adapter_id) : undefined;
    if (known) this.add(idOf(part), known, known.lineage);
    else this.#connect(this.#base, idOf(part), "made");
  }

  #node(ancestor: Ancestor): string {
    const { model, adapter_id, job_id, step } = ancestor;
    const id = idOf(ancestor);
    const leadsTo = adapter_id ? ({ page: "adapter", id: adapter_id } as const) : job_id ? ({ page: "job", id: job_id } as const) : null;
    if (!this.nodes.has(id)) {
      this.nodes.set(id, { id, name: model, note: step == null ? null : `checkpoint of step ${String(step)}`, leadsTo, kind: "before" });
    }
    return id;
  }

  /** Returns whether nothing led to `from` yet, so that its own origin is still to be added. */
  #connect(from: string, to: string, verb: Verb, weight: number | null = null): boolean {
    const isNew = from !== this.#base && !this.edges.some((edge) => edge.to === from);
    this.edges.push({ from, to, verb, weight });
    return isNew;
  }
}

const idOf = ({ adapter_id, model }: Ancestor) => adapter_id ?? model;

function madeOf({ id: from }: Adapter, { exports, composed, jobs }: Made): { node: Node; edge: Edge }[] {
  const formats = new Set(exports.filter(({ status }) => status === "succeeded").map(formatWords));
  const after = (node: Omit<Node, "kind">, verb: Verb, weight: number | null = null) => ({
    node: { ...node, kind: "after" as const },
    edge: { from, to: node.id, verb, weight },
  });
  return [
    ...[...formats].map((name) => after({ id: `export ${name}`, name, note: "export", leadsTo: "exports" }, "exported")),
    ...composed.map(({ id, model, lineage }) =>
      after(
        { id, name: model, note: null, leadsTo: { page: "adapter", id } },
        "composed",
        lineage.find(({ adapter_id }) => adapter_id === from)?.weight ?? null,
      ),
    ),
    ...jobs.map(({ id, adapter_id, model, status }) =>
      adapter_id
        ? after({ id: adapter_id, name: model ?? adapter_id, note: null, leadsTo: { page: "adapter", id: adapter_id } }, "continued")
        : after({ id, name: id, note: `job, ${status}`, leadsTo: { page: "job", id } }, "continued"),
    ),
  ];
}

/** The graph with one node in place of the first models of each long chain. */
export function withoutLongChains(graph: Graph): Graph {
  return chainsOf(graph).reduce((folded, chain) => {
    const hidden = chain.slice(0, -KEPT);
    return hidden.length < 2 ? folded : withOneInPlaceOf(hidden, folded, `${String(hidden.length)} models between`);
  }, graph);
}

/** The graph with one node in place of all but the first things that were made of the adapter. */
export function withoutLateOnes(graph: Graph): Graph {
  const hidden = graph.nodes.filter(({ kind }) => kind === "after").slice(MOST_AFTER);
  return hidden.length < 2 ? graph : withOneInPlaceOf(hidden, graph, `${String(hidden.length)} more`);
}

/** The runs of ancestors that have one parent and one child each, the oldest first. */
function chainsOf({ nodes, edges }: Graph): Node[][] {
  const links = nodes.filter(
    ({ id, kind }) => kind === "before" && edges.filter(({ to }) => to === id).length === 1 && edges.filter(({ from }) => from === id).length === 1,
  );
  const followers = new Map(edges.map(({ from, to }) => [from, links.find(({ id }) => id === to)]));
  const isFirst = ({ id }: Node) => !links.some((link) => followers.get(link.id)?.id === id);
  return links.filter(isFirst).map((first) => {
    const chain = [first];
    for (let next = followers.get(first.id); next; next = followers.get(next.id)) chain.push(next);
    return chain;
  });
}

/** Puts one node in place of some: it has the edges that lead into the first one and out of the last one. */
function withOneInPlaceOf(hidden: readonly Node[], { nodes, edges }: Graph, name: string): Graph {
  const [first, last] = [hidden[0], hidden.at(-1)];
  if (!first || !last) return { nodes, edges };
  const gone = new Set(hidden.map(({ id }) => id));
  const folded: Node = { id: `instead of ${first.id}`, name, note: null, leadsTo: null, kind: "folded" };
  return {
    nodes: nodes.flatMap((node) => (node === first ? [folded] : gone.has(node.id) ? [] : [node])),
    edges: edges.flatMap((edge) => {
      if (edge.to === first.id) return [{ ...edge, to: folded.id, weight: null }];
      if (edge.from === last.id) return [{ ...edge, from: folded.id }];
      return gone.has(edge.to) || gone.has(edge.from) ? [] : [edge];
    }),
  };
}
