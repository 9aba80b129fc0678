/**
 * Returns the indices to draw of columns that share an axis, so that the chart looks as if all were drawn.
 *
 * The indices are divided into buckets of neighbours. Each bucket keeps the first and the last index, and the smallest
 * and the largest value of each column. No outlier is lost, as it would be by sampling. `from` and `to` (not included)
 * are the bounds. The result ascends, and has at most `buckets` times (2 + 2 · columns) indices.
 */
export function indicesToDraw(columns: readonly Float64Array[], from: number, to: number, buckets: number): Uint32Array {
  const count = to - from;
  const most = buckets * (2 + 2 * columns.length);
  if (count <= most) return Uint32Array.from({ length: Math.max(0, count) }, (_, at) => from + at);
  const found = new Uint32Array(most);
  let length = 0;
  for (let bucket = 0; bucket < buckets; bucket += 1) {
    const first = from + Math.floor((bucket * count) / buckets);
    const last = from + Math.floor(((bucket + 1) * count) / buckets) - 1;
    for (const index of extremes(columns, first, last)) found[length++] = index;
  }
  return found.subarray(0, length);
}

function extremes(columns: readonly Float64Array[], first: number, last: number): number[] {
  const indices = new Set([first, last]);
  for (const column of columns) {
    let smallest = -1;
    let largest = -1;
    for (let at = first; at <= last; at += 1) {
      const value = column[at] as number;
      if (value !== value) continue; // NaN
      if (smallest < 0 || value < (column[smallest] as number)) smallest = at;
      if (largest < 0 || value > (column[largest] as number)) largest = at;
    }
    if (smallest >= 0) indices.add(smallest).add(largest);
  }
  return [...indices].sort((a, b) => a - b);
}
