/** A job's metrics, step by step, in typed arrays: one column for each name. */

export interface StepValues {
  step: number;
  [name: string]: unknown;
}

const FIRST_CAPACITY = 1024;

/** Grows in place. `version` is another number after each change. */
export class Series {
  length = 0;
  version = 0;
  private capacity = FIRST_CAPACITY;
  private stepsBuffer = new Float64Array(FIRST_CAPACITY);
  private readonly columns = new Map<string, Float64Array>();

  /** Ascending, each once. A view: it is not to be kept over a change. */
  get steps(): Float64Array {
    return this.stepsBuffer.subarray(0, this.length);
  }

  get lastStep(): number {
    return this.length ? (this.stepsBuffer[this.length - 1] ?? -1) : -1;
  }

  get names(): string[] {
    return [...this.columns.keys()];
  }

  /** NaN where a step has no such value. A view, as `steps`. */
  column(name: string): Float64Array | undefined {
    return this.columns.get(name)?.subarray(0, this.length);
  }

  /** Takes in steps in any order. A step that is there already, computed again after a crash, is replaced. */
  add(points: readonly StepValues[]): void {
    for (const point of points) this.write(this.placeOf(point.step), point);
    if (points.length) this.version += 1;
  }

  clear(): void {
    this.length = 0;
    for (const column of this.columns.values()) column.fill(NaN);
    this.version += 1;
  }

  private placeOf(step: number): number {
    if (step > this.lastStep) return this.insert(this.length, step);
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.stepsBuffer[middle] ?? 0) < step) low = middle + 1;
      else high = middle;
    }
    return this.stepsBuffer[low] === step ? low : this.insert(low, step);
  }

  private insert(place: number, step: number): number {
    if (this.length === this.capacity) this.grow();
    for (const buffer of [this.stepsBuffer, ...this.columns.values()]) {
      buffer.copyWithin(place + 1, place, this.length);
    }
    this.stepsBuffer[place] = step;
    this.length += 1;
    return place;
  }

  private write(place: number, point: StepValues): void {
    for (const column of this.columns.values()) column[place] = NaN;
    for (const [name, value] of Object.entries(point)) {
      if (name === "step" || typeof value !== "number") continue;
      this.columnToWrite(name)[place] = value;
    }
  }

  private columnToWrite(name: string): Float64Array {
    const found = this.columns.get(name) ?? new Float64Array(this.capacity).fill(NaN);
    this.columns.set(name, found);
    return found;
  }

  private grow(): void {
    this.capacity *= 2;
    const grown = (buffer: Float64Array) => {
      const larger = new Float64Array(this.capacity).fill(NaN);
      larger.set(buffer);
      return larger;
    };
    this.stepsBuffer = grown(this.stepsBuffer);
    for (const [name, buffer] of this.columns) this.columns.set(name, grown(buffer));
  }
}

/** Each step, then its values in the columns; NaN for none. */
export function rowsOf(series: Series, names: readonly string[]): number[][] {
  const columns = [series.steps, ...names.map((name) => series.column(name))];
  return Array.from({ length: series.length }, (_, at) => columns.map((column) => column?.[at] ?? NaN));
}

/** The place of the smallest or the largest value, or -1 where there is none. The first of equals. */
export function placeOfBest(values: Float64Array, best: "smallest" | "largest"): number {
  const sign = best === "smallest" ? 1 : -1;
  let found = -1;
  let least = Infinity;
  for (let at = 0; at < values.length; at += 1) {
    const value = sign * (values[at] ?? NaN);
    if (!(value < least)) continue; // NaN is not
    least = value;
    found = at;
  }
  return found;
}

/** The place of the last value, or -1. */
export function placeOfLast(values: Float64Array): number {
  for (let at = values.length - 1; at >= 0; at -= 1) if (!Number.isNaN(values[at] ?? NaN)) return at;
  return -1;
}
