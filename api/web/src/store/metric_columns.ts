// Step metrics as typed columns of bounded size.
//
// A device can do ten thousand steps a second, so a row stands for `stride` consecutive steps: when the columns are
// full, neighbours are averaged in pairs and `stride` doubles. NaN marks a value that was not a finite number; a pair
// with a NaN on one side keeps the other, so a gap shows until it is narrower than a row.

export const METRICS = ["loss", "reconstruction", "kl", "kl_weight", "learning_rate", "grad_norm", "step_time_s"] as const;
export type Metric = (typeof METRICS)[number];

export interface StepBlock extends Readonly<Record<Metric, readonly (number | null)[]>> {
  readonly step: readonly number[];
  readonly epoch: readonly number[];
}

const FIRST_CAPACITY = 1024;

export class MetricColumns {
  /** Rows in use. */
  length = 0;
  /** Steps that one row stands for. */
  stride = 1;
  /** Raised with every change. */
  version = 0;
  step = new Float64Array(FIRST_CAPACITY);
  epoch = new Float64Array(FIRST_CAPACITY);
  /** Seconds since 1970 of the event that brought the row. */
  at = new Float64Array(FIRST_CAPACITY);
  readonly values = Object.fromEntries(METRICS.map((name) => [name, new Float64Array(FIRST_CAPACITY)])) as Record<
    Metric,
    Float64Array
  >;
  private newest = 0;
  private pending = 0;

  /** `maxRows` must be even. */
  constructor(private readonly maxRows = 32_768) {}

  /** Adds the steps of an event; a resume that repeats steps overwrites them from there on. */
  append(block: StepBlock, at: number): void {
    const first = block.step[0];
    if (first === undefined) return;
    if (first <= this.newest) this.truncate(first);
    for (let index = 0; index < block.step.length; index += 1) this.push(block, index, at);
    this.version += 1;
  }

  /** Index of the first row whose step is `step` or later; `length` when there is none. */
  indexOf(step: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.step[middle] ?? 0) < step) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private push(block: StepBlock, index: number, at: number): void {
    if (this.pending === 0) {
      if (this.length === this.maxRows) this.halve();
      if (this.length === this.step.length) this.grow();
      this.length += 1;
    }
    const row = this.length - 1;
    const seen = this.pending;
    this.newest = block.step[index] ?? this.newest;
    this.step[row] = this.newest;
    this.epoch[row] = block.epoch[index] ?? 0;
    this.at[row] = at;
    for (const name of METRICS) {
      const value = block[name][index] ?? Number.NaN;
      const column = this.values[name];
      column[row] = seen === 0 ? value : blend(column[row] ?? Number.NaN, value, seen);
    }
    this.pending = (seen + 1) % this.stride;
  }

  private truncate(first: number): void {
    this.length = this.indexOf(first);
    this.newest = this.length > 0 ? (this.step[this.length - 1] ?? 0) : 0;
    this.pending = 0;
  }

  private grow(): void {
    const capacity = Math.min(this.maxRows, this.step.length * 2);
    const wider = (old: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => {
      const column = new Float64Array(capacity);
      column.set(old);
      return column;
    };
    this.step = wider(this.step);
    this.epoch = wider(this.epoch);
    this.at = wider(this.at);
    for (const name of METRICS) this.values[name] = wider(this.values[name] as Float64Array<ArrayBuffer>);
  }

  private halve(): void {
    const half = this.length >> 1;
    for (let row = 0; row < half; row += 1) {
      const right = 2 * row + 1;
      this.step[row] = this.step[right] ?? 0;
      this.epoch[row] = this.epoch[right] ?? 0;
      this.at[row] = this.at[right] ?? 0;
      for (const name of METRICS) {
        const column = this.values[name];
        column[row] = blend(column[right - 1] ?? Number.NaN, column[right] ?? Number.NaN, 1);
      }
    }
    this.length = half;
    this.stride *= 2;
  }
}

/** Mean of `count` earlier values (their mean is `mean`) and one more; a NaN on either side leaves the other. */
function blend(mean: number, value: number, count: number): number {
  if (Number.isNaN(mean)) return value;
  if (Number.isNaN(value)) return mean;
  return mean + (value - mean) / (count + 1);
}
