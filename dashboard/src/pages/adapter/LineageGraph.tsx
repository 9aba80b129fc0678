import { Link } from "@tanstack/react-router";
import { type CSSProperties, type ReactNode, useEffect, useLayoutEffect, useMemo, useRef } from "react";

import { edgeWords, type Graph, type Node, originWords } from "@/lib/lineage/graph";
import { layOut, type Layout, NODE } from "@/lib/lineage/layout";
import { CutName } from "@/components/basics/CutName";

const CENTRE = "[aria-current]";
const LOOKS: Record<Node["kind"], string> = {
  base: "border-line bg-sunken",
  before: "border-edge bg-surface",
  this: "border-2 border-accent bg-tint",
  after: "border-edge bg-surface",
  folded: "border-dashed border-edge bg-surface",
};

interface LineageGraphProps {
  graph: Graph;
  /** Shows what a node stands for that is folded. */
  onUnfold: (folded: Node) => void;
}

/**
 * The graph, from the base model on the left to what was made last on the right. The nodes are a list, in which each says
 * how it was made; the lines between them are for the eye alone.
 */
export function LineageGraph({ graph, onUnfold }: LineageGraphProps) {
  const layout = useMemo(() => layOut(graph.nodes.map(({ id }) => id), graph.edges), [graph]);
  const nodes = useMemo(() => fromLeftToRight(graph.nodes, layout), [graph, layout]);
  const box = useRef<HTMLDivElement>(null);
  useStillCentre(box, layout);
  const focusNew = useFocusOnNew(box, nodes);
  return (
    <div ref={box} role="region" aria-label="Lineage graph" tabIndex={0} className="relative max-h-[30rem] overflow-auto">
      <div className="relative" style={{ width: rem(layout.width), height: rem(layout.height) }}>
        <Lines graph={graph} layout={layout} />
        <ul>
          {nodes.map((node) => (
            <li key={node.id} data-node={node.id} className="absolute focus-within:z-10" style={placeOf(node, layout)}>
              <NodeBox
                node={node}
                origin={originWords(node.id, graph)}
                onUnfold={() => {
                  focusNew();
                  onUnfold(node);
                }}
              />
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}

/** The order in which the keyboard and a screen reader go through the nodes. */
function fromLeftToRight(nodes: readonly Node[], { corners }: Layout): Node[] {
  const corner = ({ id }: Node) => corners.get(id) ?? { x: 0, y: 0 };
  return nodes.toSorted((one, other) => corner(one).x - corner(other).x || corner(one).y - corner(other).y);
}

const rem = (length: number) => `${String(length)}rem`;

function placeOf({ id }: Node, { corners }: Layout): CSSProperties {
  const { x, y } = corners.get(id) ?? { x: 0, y: 0 };
  return { left: rem(x), top: rem(y), width: rem(NODE.width), height: rem(NODE.height) };
}

/** Begins with the adapter itself in the middle of the box, and keeps it where it is when nodes come before it. */
function useStillCentre(box: { readonly current: HTMLElement | null }, layout: Layout): void {
  const before = useRef<{ x: number; y: number } | null>(null);
  useLayoutEffect(() => {
    const centre = box.current?.querySelector(CENTRE);
    if (!box.current || !centre) return;
    const [found, frame] = [centre.getBoundingClientRect(), box.current.getBoundingClientRect()];
    const { scrollLeft, scrollTop } = box.current;
    const point = { x: found.x - frame.x + scrollLeft, y: found.y - frame.y + scrollTop };
    const wanted = before.current ?? { x: (frame.width - found.width) / 2, y: (frame.height - found.height) / 2 };
    box.current.scrollBy(point.x - wanted.x, point.y - wanted.y);
    before.current = point;
  }, [box, layout]);
}

/** Returns a function after which the next render focuses the first node that is new. The folded node is gone then. */
function useFocusOnNew(box: { readonly current: HTMLElement | null }, nodes: readonly Node[]): () => void {
  const known = useRef<ReadonlySet<string> | null>(null);
  useEffect(() => {
    const before = known.current;
    if (!before) return;
    known.current = null;
    const fresh = nodes.find(({ id }) => !before.has(id));
    if (fresh) box.current?.querySelector<HTMLElement>(`[data-node="${CSS.escape(fresh.id)}"] :is(a, button)`)?.focus();
  }, [box, nodes]);
  return () => {
    known.current = new Set(nodes.map(({ id }) => id));
  };
}

function NodeBox({ node, origin, onUnfold }: { node: Node; origin: string; onUnfold: () => void }) {
  const { kind, leadsTo } = node;
  const className = `grid h-full grid-cols-1 content-center rounded-md border px-2.5 text-left ${LOOKS[kind]}`;
  const words = (
    <>
      <span className={kind === "this" ? "font-semibold" : leadsTo || kind === "folded" ? "text-accent" : ""}>
        <CutName name={node.name} />
      </span>
      {node.note && <span className="fact truncate">{node.note}</span>}
      {origin && <span className="sr-only">, {origin}</span>}
    </>
  );
  if (kind === "folded") {
    return (
      <button type="button" className={`${className} w-full hover:bg-sunken`} onClick={onUnfold}>
        {words}
      </button>
    );
  }
  return <NodeLink node={node} className={className}>{words}</NodeLink>;
}

function NodeLink({ node: { kind, leadsTo }, className, children }: { node: Node; className: string; children: ReactNode }) {
  const looks = `${className} hover:bg-sunken`;
  if (leadsTo === "exports") return <a href="#exports" className={looks}>{children}</a>;
  if (leadsTo?.page === "adapter") return <Link to="/adapters/$adapterId" params={{ adapterId: leadsTo.id }} className={looks}>{children}</Link>;
  if (leadsTo?.page === "job") return <Link to="/jobs/$jobId" params={{ jobId: leadsTo.id }} className={looks}>{children}</Link>;
  return <div aria-current={kind === "this" || undefined} className={className}>{children}</div>;
}

/** The lines with their words. A screen reader gets the words with the nodes. */
function Lines({ graph, layout }: { graph: Graph; layout: Layout }) {
  const { width, height, lines } = layout;
  return (
    <svg aria-hidden="true" className="absolute inset-0" style={{ width: rem(width), height: rem(height) }} viewBox={`0 0 ${String(width)} ${String(height)}`}>
      <defs>
        <marker id="lineage-arrow" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="0.7" markerHeight="0.7" markerUnits="userSpaceOnUse" orient="auto">
          <path d="M 0 0 L 10 5 L 0 10 z" className="fill-edge" />
        </marker>
      </defs>
      {lines.map(({ path }, at) => (
        <path key={at} d={path} className="fill-none stroke-edge" strokeWidth="0.1" markerEnd="url(#lineage-arrow)" />
      ))}
      {lines.map(({ label }, at) => {
        const edge = graph.edges[at];
        return (
          edge && (
            <text key={at} x={label.x} y={label.y} dy="0.3" fontSize="0.9" textAnchor="middle" strokeWidth="0.4" className="fill-muted stroke-surface [paint-order:stroke]">
              {edgeWords(edge)}
            </text>
          )
        );
      })}
    </svg>
  );
}
