/** A job's metrics, step by step, in typed arrays: one column for each name. */

export interface StepValues {
  step: number;
  [name: string]: unknown;
}

/** Where the steps can be read that a thinned series lacks. */
export interface LeftOut {
  /** The steps from one to another; of many, again those that a chart needs. */
  readPart: (from: number, to: number) => Promise<void>;
  readAll: () => Promise<void>;
}

const FIRST_CAPACITY = 1024;
const FEW = 32; // steps that may each move all that follow

/** Grows in place. `version` is another number after each change. */
export class Series {
  length = 0;
  version = 0;
  /** Of a series that is thinned: it has each stretch's smallest and largest values. */
  leftOut: LeftOut | null = null;
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
    if (points.length > FEW) this.makePlaces(points);
    for (const point of points) this.write(this.placeOf(point.step), point);
    if (points.length) this.version += 1;
  }

  /** Has from now on what `whole` has, and of its own steps those after that. */
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

  private pointAt(place: number): StepValues {
    const values = [...this.columns].map(([name, column]) => [name, column[place]] as const);
    return { step: this.stepsBuffer[place] ?? NaN, ...Object.fromEntries(values.filter(([, value]) => !Number.isNaN(value))) };
  }

  /** For steps that stand between those that are here. */
  private makePlaces(points: readonly StepValues[]): void {
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
