// Step metrics as typed columns of bounded size.
//
// A row is a bucket: row k of `stride` stands for the steps k * stride + 1 … (k + 1) * stride, with the lowest, the
// highest and the last value of each metric, just as the api's history has them. When the columns are full, `stride`
// doubles. A spike stays the highest value of its row, and a value that was no finite number makes the row's last
// value NaN: a gap.
import type { Wire } from "../model/wire_types";

export const METRICS = ["loss", "reconstruction", "kl", "kl_weight", "learning_rate", "grad_norm", "step_time_s"] as const;
export type Metric = (typeof METRICS)[number];
export type History = Wire<"HistoryView">;

export interface StepBlock extends Readonly<Record<Metric, readonly (number | null)[]>> {
  readonly step: readonly number[];
  readonly epoch: readonly number[];
}

type Column = Float64Array<ArrayBuffer>;

export interface Curve {
  last: Column;
  /** Infinite where a row has no finite value. */
  min: Column;
  max: Column;
}

const FIRST_CAPACITY = 1024;

export class MetricColumns {
  /** Rows in use. */
  length = 0;
  /** Steps that one row stands for. */
  stride = 1;
  /** Last step in each row. */
  step: Column = new Float64Array(FIRST_CAPACITY);
  epoch: Column = new Float64Array(FIRST_CAPACITY);
  /** Seconds since 1970 of the event that brought the row. */
  at: Column = new Float64Array(FIRST_CAPACITY);
  readonly values = Object.fromEntries(METRICS.map((name) => [name, newCurve(FIRST_CAPACITY)])) as Record<Metric, Curve>;

  constructor(private readonly maxRows = 4096) {}

  /** The newest step; 0 when there is none. */
  get newest(): number {
    return this.length > 0 ? (this.step[this.length - 1] ?? 0) : 0;
  }

  /** Replaces everything by what the api has. */
  load(history: History): void {
    this.length = history.step.length;
    this.stride = history.stride;
    const fill = (values: readonly (number | null)[], without: number): Column => Float64Array.from(values, (value) => value ?? without);
    this.step = fill(history.step, 0);
    this.epoch = fill(history.epoch, 0);
    this.at = fill(history.at, 0);
    for (const name of METRICS) {
      const { last, min, max } = history[name];
      const isExact = history.stride === 1;
      this.values[name] = {
        last: fill(last, Number.NaN),
        min: fill(isExact ? last : min, Number.POSITIVE_INFINITY),
        max: fill(isExact ? last : max, Number.NEGATIVE_INFINITY),
      };
    }
  }

  /** Adds the steps of an event; false when they repeat earlier ones, whose rows are dropped from there on. */
  append(block: StepBlock, at: number): boolean {
    const first = block.step[0];
    if (first === undefined) return true;
    const follows = first > this.newest;
    if (!follows) this.length = this.indexOf(first);
    for (let index = 0; index < block.step.length; index += 1) this.push(block, index, at);
    return follows;
  }

  /** Index of the first row whose last step is `step` or later; `length` when there is none. */
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
    const step = block.step[index] ?? 0;
    const isNew = this.length === 0 || this.keyOf(step) !== this.keyOf(this.newest);
    if (isNew) {
      while (this.length >= this.maxRows) this.widen();
      if (this.length === this.step.length) this.grow();
      this.length += 1;
    }
    const row = this.length - 1;
    this.step[row] = step;
    this.epoch[row] = block.epoch[index] ?? 0;
    this.at[row] = at;
    for (const name of METRICS) {
      const value = block[name][index] ?? Number.NaN;
      const curve = this.values[name];
      if (isNew) setRow(curve, row, value, Number.isNaN(value) ? Number.POSITIVE_INFINITY : value, Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value);
      else mergeRow(curve, row, value, value, value);
    }
  }

  private keyOf(step: number): number {
    return Math.floor((step - 1) / this.stride);
  }

  private grow(): void {
    const capacity = Math.min(this.maxRows, Math.max(FIRST_CAPACITY, this.step.length * 2));
    const wider = (old: Column): Column => {
      const column = new Float64Array(capacity);
      column.set(old);
      return column;
    };
    this.step = wider(this.step);
    this.epoch = wider(this.epoch);
    this.at = wider(this.at);
    for (const name of METRICS) {
      const { last, min, max } = this.values[name];
      this.values[name] = { last: wider(last), min: wider(min), max: wider(max) };
    }
  }

  /** Doubles `stride`. */
  private widen(): void {
    const rows = this.length;
    this.stride *= 2;
    this.length = 0;
    for (let row = 0; row < rows; row += 1) {
      const step = this.step[row] ?? 0;
      const isNew = this.length === 0 || this.keyOf(step) !== this.keyOf(this.newest);
      if (isNew) this.length += 1;
      const target = this.length - 1;
      this.step[target] = step;
      this.epoch[target] = this.epoch[row] ?? 0;
      this.at[target] = this.at[row] ?? 0;
      for (const name of METRICS) {
        const curve = this.values[name];
        (isNew ? setRow : mergeRow)(curve, target, at(curve.last, row), at(curve.min, row), at(curve.max, row));
      }
    }
  }
}

function newCurve(capacity: number): Curve {
  return { last: new Float64Array(capacity), min: new Float64Array(capacity), max: new Float64Array(capacity) };
}

function setRow({ last, min, max }: Curve, row: number, value: number, low: number, high: number): void {
  last[row] = value;
  min[row] = low;
  max[row] = high;
}

/** A NaN on either side stays: it is a gap. */
function mergeRow({ last, min, max }: Curve, row: number, value: number, low: number, high: number): void {
  last[row] = Number.isNaN(at(last, row)) ? Number.NaN : value;
  if (low < at(min, row)) min[row] = low;
  if (high > at(max, row)) max[row] = high;
}

function at(column: Column, row: number): number {
  return column[row] ?? Number.NaN;
}
