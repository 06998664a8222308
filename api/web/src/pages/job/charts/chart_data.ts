// From metrics to the columns that uPlot draws: x, then raw, smoothed, highest and lowest, then one per epoch series.
import { smooth, smoothingWeight, withGaps } from "../../../smoothing";
import type { EpochMetrics } from "../../../store/job_session";
import type { MetricColumns } from "../../../store/metric_columns";
import type { ChartSpec, EpochSeries } from "./chart_specs";

type Column = (number | null)[];

export interface ChartData {
  readonly x: number[];
  readonly columns: readonly Column[];
  /** By row. */
  readonly epoch: readonly number[];
  /** When the rows were recorded; empty for charts of epochs. */
  readonly at: readonly number[];
  /** Finite points of the raw curve in steps, or of the first epoch series where there is none. */
  readonly points: number;
}

/** Columns that a step metric takes; those of epochs follow. */
export const STEP_COLUMNS = 4;

export function chartData(
  spec: ChartSpec,
  metrics: MetricColumns,
  closeUp: MetricColumns | null,
  epochs: readonly EpochMetrics[],
  position: number,
): ChartData {
  if (!spec.metric) {
    const columns = spec.epochs.map(({ value }) => epochs.map((epoch) => finite(value(epoch))));
    return { x: epochs.map(({ step }) => step), columns, epoch: epochs.map(({ epoch }) => epoch), at: [], points: pointsOf(columns[0] ?? []) };
  }
  const parts = partsOf(metrics, closeUp);
  const metric = spec.metric;
  // Where a row is one step there is nothing to span.
  const edge = (kind: "min" | "max"): Column => parts.flatMap(([columns, from, to]) =>
    Array.from(columns.values[metric][kind].subarray(from, to), (value) => (columns.stride > 1 ? finite(value) : null)));
  const x = joined(parts, (columns) => columns.step);
  const last = joined(parts, (columns) => columns.values[metric].last);
  const raw = withGaps(last, x.length);
  const smoothed = smooth(last, x.length, smoothingWeight(position, x.length));
  const overEpochs = spec.epochs.map((series) => placed(series, x, epochs));
  return {
    x,
    columns: [raw, smoothed, edge("max"), edge("min"), ...overEpochs],
    epoch: joined(parts, (columns) => columns.epoch),
    at: joined(parts, (columns) => columns.at),
    points: Math.min(pointsOf(raw) * metrics.stride, metrics.newest),
  };
}

/** Rows of some columns, from one to before another. */
type Part = readonly [columns: MetricColumns, from: number, to: number];

/** The overview, with the finer rows of the zoomed range in place of its own. */
function partsOf(metrics: MetricColumns, closeUp: MetricColumns | null): Part[] {
  if (!closeUp) return [[metrics, 0, metrics.length]];
  return [
    [metrics, 0, metrics.indexOf(closeUp.step[0] ?? 0)],
    [closeUp, 0, closeUp.length],
    [metrics, metrics.indexOf(closeUp.newest + 1), metrics.length],
  ];
}

function joined(parts: readonly Part[], column: (columns: MetricColumns) => Float64Array): number[] {
  return parts.flatMap(([columns, from, to]) => Array.from(column(columns).subarray(from, to)));
}

/** Values of epochs at the rows of their last steps, null everywhere else. */
function placed(series: EpochSeries, x: readonly number[], epochs: readonly EpochMetrics[]): Column {
  const column = new Array<number | null>(x.length).fill(null);
  let row = 0;
  for (const epoch of epochs) {
    while (row < x.length - 1 && (x[row] ?? 0) < epoch.step) row += 1;
    if (row < x.length) column[row] = finite(series.value(epoch)) ?? column[row] ?? null;
  }
  return column;
}

function finite(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null;
}

function pointsOf(column: Column): number {
  let points = 0;
  for (const value of column) if (value !== null) points += 1;
  return points;
}

/** True when a logarithmic axis can show all of it. */
export function isPositive(data: ChartData): boolean {
  return data.columns.every((column) => column.every((value) => value === null || value > 0));
}
