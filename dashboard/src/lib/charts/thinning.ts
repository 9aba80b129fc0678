/**
 * The places to draw of columns that share one axis, so that the picture is that of all of them.
 *
 * Of each bucket of neighbouring places stay the first, the last, and each column's smallest and largest: no
 * outlier is lost, which a sample would lose. `from` and `to` (not included) bound the places. The answer
 * ascends, and has at most `buckets` times (2 + 2 · columns) places.
 */
export function placesToDraw(columns: readonly Float64Array[], from: number, to: number, buckets: number): Uint32Array {
  const count = to - from;
  const most = buckets * (2 + 2 * columns.length);
  if (count <= most) return Uint32Array.from({ length: Math.max(0, count) }, (_, at) => from + at);
  const found = new Uint32Array(most);
  let length = 0;
  for (let bucket = 0; bucket < buckets; bucket += 1) {
    const first = from + Math.floor((bucket * count) / buckets);
    const last = from + Math.floor(((bucket + 1) * count) / buckets) - 1;
    for (const place of extremes(columns, first, last)) found[length++] = place;
  }
  return found.subarray(0, length);
}

function extremes(columns: readonly Float64Array[], first: number, last: number): number[] {
  const places = new Set([first, last]);
  for (const column of columns) {
    let smallest = -1;
    let largest = -1;
    for (let at = first; at <= last; at += 1) {
      const value = column[at] as number;
      if (value !== value) continue; // NaN
      if (smallest < 0 || value < (column[smallest] as number)) smallest = at;
      if (largest < 0 || value > (column[largest] as number)) largest = at;
    }
    if (smallest >= 0) places.add(smallest).add(largest);
  }
  return [...places].sort((a, b) => a - b);
}
