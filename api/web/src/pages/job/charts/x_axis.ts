// What the horizontal axis of a job's charts counts. Zoom and close-ups are always in steps; only the drawing is in this.
import { duration } from "../../../format";
import type { MetricColumns } from "../../../store/metric_columns";
import type { XAxis } from "../../../store/preferences";

export interface Scale {
  readonly toX: (step: number) => number;
  readonly toStep: (x: number) => number;
  /** Distances that ticks may have; uPlot's own where there are none. */
  readonly increments?: number[];
  readonly text?: (x: number) => string;
}

export const STEPS: Scale = { toX: (step) => step, toStep: (x) => x };

const TIMES_S = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400, 172_800, 604_800];

/** By steps, by epochs of so many steps, or by the seconds since the first step was recorded. */
export function scaleOf(kind: XAxis, metrics: MetricColumns, stepsPerEpoch: number): Scale {
  if (kind === "epoch" && stepsPerEpoch > 0) return { toX: (step) => step / stepsPerEpoch, toStep: (epoch) => epoch * stepsPerEpoch };
  if (kind !== "time" || metrics.length < 2) return STEPS;
  const times = secondsOf(metrics);
  const steps = metrics.step.subarray(0, metrics.length);
  return {
    toX: (step) => between(steps, times, step),
    toStep: (seconds) => between(times, steps, seconds),
    increments: TIMES_S,
    text: duration,
  };
}

/** Seconds since the first row. Rows that came together are spread over the time since those before them. */
export function secondsOf({ at, step, length, values }: MetricColumns): Float64Array {
  const times = new Float64Array(length);
  const firstRun = at.subarray(0, length).findLastIndex((one) => one === at[0]);
  const begin = (at[0] ?? 0) - (step[firstRun] ?? 0) * finiteOr(values.step_time_s.last[firstRun], 0);
  let before = begin;
  for (let first = 0; first < length; ) {
    let end = first + 1;
    while (end < length && at[end] === at[first]) end += 1;
    const now = Math.max(before, at[first] ?? 0);
    for (let row = first; row < end; row += 1) times[row] = before - begin + ((now - before) * (row - first + 1)) / (end - first);
    before = now;
    first = end;
  }
  return times;
}

function finiteOr(value: number | undefined, other: number): number {
  return value !== undefined && Number.isFinite(value) ? value : other;
}

/** The value of `to` where `from` (rising) is `value`, on straight lines between its points and beyond its ends. */
export function between(from: ArrayLike<number>, to: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = from.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((from[middle] ?? 0) <= value) low = middle;
    else high = middle;
  }
  const [a, b, c, d] = [from[low] ?? 0, from[high] ?? 0, to[low] ?? 0, to[high] ?? 0];
  return b > a ? c + ((value - a) / (b - a)) * (d - c) : c;
}
