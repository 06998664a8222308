// From metrics to the columns that uPlot draws: x, raw, smoothed, then one per epoch series.
import { smooth, smoothingWeight, withGaps } from "../../../smoothing";
import type { EpochMetrics } from "../../../store/job_session";
import type { MetricColumns } from "../../../store/metric_columns";
import type { ChartSpec, EpochSeries } from "./chart_specs";

type Column = (number | null)[];

export interface ChartData {
  readonly x: number[];
  readonly columns: readonly Column[];
  /** Finite points of the raw curve, or of the first epoch series where there is none. */
  readonly points: number;
}

export function chartData(spec: ChartSpec, metrics: MetricColumns, epochs: readonly EpochMetrics[], position: number): ChartData {
  if (!spec.metric) {
    const columns = spec.epochs.map(({ value }) => epochs.map((epoch) => finite(value(epoch))));
    return { x: epochs.map(({ step }) => step), columns, points: pointsOf(columns[0] ?? []) };
  }
  const { length } = metrics;
  const values = metrics.values[spec.metric];
  const raw = withGaps(values, length);
  const smoothed = smooth(values, length, smoothingWeight(position, length));
  const overEpochs = spec.epochs.map((series) => placed(series, metrics, epochs));
  return { x: Array.from(metrics.step.subarray(0, length)), columns: [raw, smoothed, ...overEpochs], points: pointsOf(raw) };
}

/** Values of epochs at the rows of their last steps, null everywhere else. */
function placed(series: EpochSeries, metrics: MetricColumns, epochs: readonly EpochMetrics[]): Column {
  const column = new Array<number | null>(metrics.length).fill(null);
  for (const epoch of epochs) {
    const row = Math.min(metrics.indexOf(epoch.step), metrics.length - 1);
    if (row >= 0) column[row] = finite(series.value(epoch));
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
