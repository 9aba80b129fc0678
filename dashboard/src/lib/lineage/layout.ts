/**
 * Places the nodes of a graph without cycles in columns: each edge leads to a column further right. All lengths are in
 * the unit of the page's text (rem), so that the drawing grows with it.
 */

export const NODE = { width: 13, height: 3.4 };
const GAP = { x: 8, y: 1 };
const MARGIN = 0.5;
const PASSAGE = 0.6; // the height of an edge that passes through a column
const SWEEPS = 4;

interface Link {
  from: string;
  to: string;
}

export interface Point {
  x: number;
  y: number;
}

export interface Line {
  /** A path of SVG. */
  path: string;
  /** Where the words stand, beside the line. */
  label: Point;
}

export interface Layout {
  /** The upper left corner of each node. */
  corners: ReadonlyMap<string, Point>;
  /** One line for each edge, in their order. */
  lines: readonly Line[];
  width: number;
  height: number;
}

/** A cell of a column: a node, or an edge that passes through. `before` are its neighbours one column earlier. */
interface Cell {
  id: string;
  height: number;
  before: Cell[];
  after: Cell[];
  y: number;
}

export function layOut(ids: readonly string[], edges: readonly Link[]): Layout {
  const columnOf = columnsOf(ids, edges);
  const columns: Cell[][] = Array.from({ length: Math.max(...columnOf.values()) + 1 }, () => []);
  const nodes = new Map(ids.map((id) => [id, cellIn(columns[columnOf.get(id) ?? 0], id, NODE.height)]));
  const routes = edges.map((edge, at) => routeOf(edge, at, columns, columnOf, nodes));
  putInOrder(columns);
  const height = stack(columns);
  const corners = new Map([...nodes].map(([id, { y }]) => [id, { x: xOf(columnOf.get(id) ?? 0), y }]));
  return {
    corners,
    lines: routes.map((route) => lineOf(route, columnOf)),
    width: xOf(columns.length - 1) + NODE.width + MARGIN,
    height,
  };
}

const xOf = (column: number) => MARGIN + column * (NODE.width + GAP.x);

/** The column of each node: beside the first node that is made of it, and the nodes without parents first. */
function columnsOf(ids: readonly string[], edges: readonly Link[]): Map<string, number> {
  const columns = new Map(ids.map((id) => [id, 0]));
  const column = (id: string) => columns.get(id) ?? 0;
  untilNothingChanges(() => {
    const wrong = edges.filter(({ from, to }) => column(to) <= column(from));
    for (const { from, to } of wrong) columns.set(to, Math.max(column(to), column(from) + 1));
    return wrong.length > 0;
  });
  untilNothingChanges(() => {
    const moved = ids.filter((id) => {
      const children = edges.filter(({ from }) => from === id).map(({ to }) => column(to));
      const last = Math.min(...children) - 1;
      if (!children.length || last <= column(id) || !edges.some(({ to }) => to === id)) return false;
      columns.set(id, last);
      return true;
    });
    return moved.length > 0;
  });
  return columns;
}

function untilNothingChanges(step: () => boolean): void {
  while (step());
}

function cellIn(column: Cell[] | undefined, id: string, height: number): Cell {
  const cell: Cell = { id, height, before: [], after: [], y: 0 };
  column?.push(cell);
  return cell;
}

interface Route {
  from: string;
  to: string;
  cells: Cell[];
}

/** The cells of an edge: its first node, the passages through the columns between, its last node. */
function routeOf(
  { from, to }: Link,
  at: number,
  columns: readonly Cell[][],
  columnOf: ReadonlyMap<string, number>,
  nodes: ReadonlyMap<string, Cell>,
): Route {
  const between = columns.slice((columnOf.get(from) ?? 0) + 1, columnOf.get(to));
  const passages = between.map((column) => cellIn(column, `passage ${String(at)}`, PASSAGE));
  const cells = [nodes.get(from), ...passages, nodes.get(to)].filter((cell) => cell !== undefined);
  cells.forEach((cell, index) => {
    const next = cells[index + 1];
    if (!next) return;
    cell.after.push(next);
    next.before.push(cell);
  });
  return { from, to, cells };
}

/** Orders each column so that few lines cross: each cell goes to the mean of its neighbours. */
function putInOrder(columns: readonly Cell[][]): void {
  const reversed = columns.toReversed();
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const isForward = sweep % 2 === 0;
    for (const column of isForward ? columns : reversed) {
      const means = new Map(column.map((cell, at) => [cell, meanOf(isForward ? cell.before : cell.after, columns) ?? at - (column.length - 1) / 2]));
      column.sort((one, other) => (means.get(one) ?? 0) - (means.get(other) ?? 0));
    }
  }
}

/** The mean height of neighbours, counted from the middle of their column. Null without neighbours. */
function meanOf(neighbours: readonly Cell[], columns: readonly Cell[][]): number | null {
  if (!neighbours.length) return null;
  const heights = neighbours.map((cell) => {
    const column = columns.find((one) => one.includes(cell)) ?? [];
    return column.indexOf(cell) - (column.length - 1) / 2;
  });
  return heights.reduce((sum, height) => sum + height, 0) / heights.length;
}

/** Gives each cell its height in the drawing, and returns that of the drawing. Each column stands in its middle. */
function stack(columns: readonly Cell[][]): number {
  const heights = columns.map((column) => column.reduce((sum, { height }) => sum + height + GAP.y, -GAP.y));
  const highest = Math.max(...heights);
  columns.forEach((column, at) => {
    let y = MARGIN + (highest - (heights[at] ?? 0)) / 2;
    for (const cell of column) {
      cell.y = y;
      y += cell.height + GAP.y;
    }
  });
  return highest + 2 * MARGIN;
}

function lineOf({ from, cells }: Route, columnOf: ReadonlyMap<string, number>): Line {
  const first = columnOf.get(from) ?? 0;
  const target = cells.at(-1);
  const points = cells.map((cell, index) => ({
    left: { x: xOf(first + index), y: cell === target ? portOf(cell, cells.at(-2)) : middleOf(cell) },
    right: { x: xOf(first + index) + NODE.width, y: middleOf(cell) },
  }));
  const curves = points.slice(1).map(({ left, right }, index) => {
    const start = points[index]?.right ?? left;
    const bend = GAP.x / 2;
    const passes = index + 2 < points.length ? ` H ${String(right.x)}` : "";
    return `C ${numbers(start.x + bend, start.y, left.x - bend, left.y, left.x, left.y)}${passes}`;
  });
  const [start, end] = [points.at(-2)?.right, points.at(-1)?.left];
  return {
    path: `M ${numbers(points[0]?.right.x ?? 0, points[0]?.right.y ?? 0)} ${curves.join(" ")}`,
    label: { x: ((start?.x ?? 0) + (end?.x ?? 0)) / 2, y: ((start?.y ?? 0) + (end?.y ?? 0)) / 2 },
  };
}

const middleOf = ({ y, height }: Cell) => y + height / 2;

/** Where a line meets its node: the lines into one node share its left side, from above to below. */
function portOf(cell: Cell, source: Cell | undefined): number {
  const sources = cell.before.toSorted((one, other) => one.y - other.y);
  const at = source ? sources.indexOf(source) : 0;
  return cell.y + (cell.height * (at + 1)) / (sources.length + 1);
}

const numbers = (...values: number[]) => values.map((value) => value.toFixed(2)).join(" ");
