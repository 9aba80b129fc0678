/** The metrics of a job, step by step, in typed arrays: one column for each name. */

export interface StepValues {
  step: number;
  [name: string]: unknown;
}

/** Reads the steps that a thinned series lacks. */
export interface LeftOut {
  /** Reads the steps from one step to another. If there are many, it reads those that a chart needs. */
  readPart: (from: number, to: number) => Promise<void>;
  readAll: () => Promise<void>;
}

const FIRST_CAPACITY = 1024;
const FEW = 32; // steps that are inserted one by one, each of which moves all later steps

/** A series grows in place. Its `version` changes with each change. */
export class Series {
  length = 0;
  version = 0;
  /** Set while the series is thinned: it then holds the smallest and the largest values of each stretch of steps. */
  leftOut: LeftOut | null = null;
  private capacity = FIRST_CAPACITY;
  private stepsBuffer = new Float64Array(FIRST_CAPACITY);
  private readonly columns = new Map<string, Float64Array>();

  /** The steps, ascending, each once. The array is a view, which is not valid after a change. */
  get steps(): Float64Array {
    return this.stepsBuffer.subarray(0, this.length);
  }

  get lastStep(): number {
    return this.length ? (this.stepsBuffer[this.length - 1] ?? -1) : -1;
  }

  get names(): string[] {
    return [...this.columns.keys()];
  }

  /** Returns a column: NaN means that a step has no such value. The array is a view, like `steps`. */
  column(name: string): Float64Array | undefined {
    return this.columns.get(name)?.subarray(0, this.length);
  }

  /** Adds steps in any order. A known step, which was computed again after a crash, is replaced. */
  add(points: readonly StepValues[]): void {
    if (points.length > FEW) this.makeRoom(points);
    for (const point of points) this.write(this.indexOf(point.step), point);
    if (points.length) this.version += 1;
  }

  /** Replaces the content by that of `whole`, and keeps its own steps that come after the steps of `whole`. */
  become(whole: Series): void {
    for (let at = 0; at < this.length; at += 1) if ((this.stepsBuffer[at] ?? NaN) > whole.lastStep) whole.add([this.pointAt(at)]);
    this.length = whole.length;
    this.capacity = whole.capacity;
    this.stepsBuffer = whole.stepsBuffer;
    this.columns.clear();
    for (const [name, column] of whole.columns) this.columns.set(name, column);
    this.leftOut = null;
    this.version += 1;
  }

  clear(): void {
    this.length = 0;
    this.leftOut = null;
    for (const column of this.columns.values()) column.fill(NaN);
    this.version += 1;
  }

  private pointAt(index: number): StepValues {
    const values = [...this.columns].map(([name, column]) => [name, column[index]] as const);
    return { step: this.stepsBuffer[index] ?? NaN, ...Object.fromEntries(values.filter(([, value]) => !Number.isNaN(value))) };
  }

  /** Makes room for steps that stand between known steps. */
  private makeRoom(points: readonly StepValues[]): void {
    const before = this.steps;
    if (points.every(({ step }) => step > this.lastStep)) return;
    const all = Float64Array.from(new Set([...before, ...points.map(({ step }) => step)])).sort();
    while (this.capacity < all.length) this.capacity *= 2;
    const spread = (buffer: Float64Array) => {
      const larger = new Float64Array(this.capacity).fill(NaN);
      let from = 0;
      for (let at = 0; at < all.length; at += 1) if (all[at] === before[from]) larger[at] = buffer[from++] ?? NaN;
      return larger;
    };
    for (const [name, buffer] of this.columns) this.columns.set(name, spread(buffer));
    this.stepsBuffer = new Float64Array(this.capacity);
    this.stepsBuffer.set(all);
    this.length = all.length;
  }

  private indexOf(step: number): number {
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

  private insert(index: number, step: number): number {
    if (this.length === this.capacity) this.grow();
    for (const buffer of [this.stepsBuffer, ...this.columns.values()]) {
      buffer.copyWithin(index + 1, index, this.length);
    }
    this.stepsBuffer[index] = step;
    this.length += 1;
    return index;
  }

  private write(index: number, point: StepValues): void {
    for (const column of this.columns.values()) column[index] = NaN;
    for (const [name, value] of Object.entries(point)) {
      if (name === "step" || typeof value !== "number") continue;
      this.columnToWrite(name)[index] = value;
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

/** A series without steps. Nothing may be added to it. */
export const NO_SERIES = new Series();

/** Returns a row for each step: the step, then its values in the columns. NaN means that it has no value. */
export function rowsOf(series: Series, names: readonly string[]): number[][] {
  const columns = [series.steps, ...names.map((name) => series.column(name))];
  return Array.from({ length: series.length }, (_, at) => columns.map((column) => column?.[at] ?? NaN));
}

/** Returns the index of the smallest or the largest value, the first of equal ones; -1 if there is no value. */
export function indexOfBest(values: Float64Array, best: "smallest" | "largest"): number {
  const sign = best === "smallest" ? 1 : -1;
  let found = -1;
  let least = Infinity;
  for (let at = 0; at < values.length; at += 1) {
    const value = sign * (values[at] ?? NaN);
    if (!(value < least)) continue; // also true for NaN
    least = value;
    found = at;
  }
  return found;
}

/** Returns the index of the last value; -1 if there is no value. */
export function indexOfLast(values: Float64Array): number {
  for (let at = values.length - 1; at >= 0; at -= 1) if (!Number.isNaN(values[at] ?? NaN)) return at;
  return -1;
}
