// The curves of several jobs as one table for uPlot: the steps of all of them, and a column for each job.
import uPlot from "uplot";
import type { JobSession } from "../../store/job_session";
import { chartData } from "../job/charts/chart_data";
import type { ChartSpec } from "../job/charts/chart_specs";

/** Where a job has no point the cell is undefined and its line goes on; null is a gap. */
export function compareData(spec: ChartSpec, sessions: readonly JobSession[], position: number): uPlot.AlignedData {
  const tables = sessions.map((session) => curveOf(spec, session, position)).map(([x, y]): uPlot.AlignedData => [x, y]);
  return tables.length > 0 ? uPlot.join(tables) : [[]];
}

function curveOf(spec: ChartSpec, { metrics, closeUp, epochs }: JobSession, position: number): [number[], (number | null)[]] {
  const data = chartData(spec.metric ? { ...spec, epochs: [] } : spec, metrics, closeUp.columns.peek(), epochs.peek(), position);
  if (spec.metric) return [[...data.x], [...((position > 0 ? data.columns[1] : data.columns[0]) ?? [])]];
  // Held-out files tell more than those that were trained on; a job may have none.
  const validation = data.columns.at(-1) ?? [];
  const hasValidation = validation.some((value) => value !== null);
  return [[...data.x], [...((hasValidation ? validation : data.columns[0]) ?? [])]];
}

/** The newest value of a column at or before a row. */
export function valueAt(column: ArrayLike<number | null | undefined> | undefined, row: number): number | null {
  for (let index = row; column && index >= 0; index -= 1) {
    const value = column[index];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}
